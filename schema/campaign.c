/* The document of a campaign. The list of licences is an array of its own beside the table of fields: it may be long.
 */
#include "schema/campaign.h"

#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

static const char *const reasons[] = {"operator", "scheduled", "exposed"};
static const char *const states[] = {"running", "paused", "stopped", "done"};
static const char *const selectors[] = {"all", "filter", "list"};

bool campaign_name_valid(const char *name)
{
    return message_word_valid(name) && strlen(name) < CAMPAIGN_NAME_MAX;
}

static bool waves_valid(const char *s)
{
    return *s >= '1' && *s <= '9' && strspn(s, "0123456789,%") == strlen(s);
}

#define AT(member)    .offset = offsetof(struct campaign, member), .size = sizeof(((struct campaign *)0)->member)
#define CHOICES(list) .choices = list, .n_choices = ARRAY_LEN(list)
static const struct field fields[] = {
    {"name", FIELD_TEXT, true, AT(name), .valid = campaign_name_valid},
    {"reason", FIELD_CHOICE, true, AT(reason), CHOICES(reasons)},
    {"state", FIELD_CHOICE, true, AT(state), CHOICES(states)},
    {"selector", FIELD_CHOICE, true, AT(selector), CHOICES(selectors)},
    {"filter", FIELD_TEXT, false, AT(filter), .valid = message_printable},
    {"waves", FIELD_TEXT, true, AT(waves), .valid = waves_valid},
    {"pace_milli", FIELD_INT, false, AT(pace_milli), .most = 1000000000},
    {"stop_share", FIELD_INT, true, AT(stop_share), .most = 10000},
    {"created_at_ms", FIELD_INT, true, AT(created_at_ms), .least = 1, .most = MESSAGE_TIME_MAX},
    {"changed_at_ms", FIELD_INT, true, AT(changed_at_ms), .least = 1, .most = MESSAGE_TIME_MAX},
    {"by", FIELD_TEXT, true, AT(by), .valid = message_printable},
    {"why", FIELD_WORDS, false, AT(why)},
    {"revision", FIELD_INT, true, AT(revision), .least = 1, .most = MESSAGE_INT_MAX},
};
static const struct form form = {"keyroll.campaign", fields, ARRAY_LEN(fields), CAMPAIGN_MAX_BYTES};

void campaign_done(struct campaign *c)
{
    free(TAKE(c->list));
}

void campaign_freep(struct campaign **c)
{
    if (*c) campaign_done(*c);
    free(*c);
}

const char *campaign_state_name(int state)
{
    return state >= 0 && (size_t)state < ARRAY_LEN(states) ? states[state] : "unknown";
}

const char *campaign_reason_name(int reason)
{
    return reason >= 0 && (size_t)reason < ARRAY_LEN(reasons) ? reasons[reason] : "unknown";
}

int campaign_reason_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (strcmp(name, reasons[i]) == 0) return (int)i;
    return -1;
}

static int read_list(const json_t *list, struct campaign *c, struct message_fault *fault)
{
    AUTO_BUF struct buf text;
    json_t *one;
    size_t i;
    bool good = json_is_array(list) && json_array_size(list) > 0;
    buf_init(&text, CAMPAIGN_MAX_BYTES);
    if (good) json_array_foreach((json_t *)(uintptr_t)list, i, one)
        {
            const char *licence = json_string_value(one);
            good = good && licence && identity_licence_valid(licence);
            if (good) (void)buf_addf(&text, "%s\n", licence);
        }
    if (!good) {
        if (fault) *fault = (struct message_fault){"licences: not a list of licences"};
        return ERR_INVALID;
    }
    if (text.error) return text.error;
    c->list = strdup(buf_str(&text));
    return c->list ? 0 : ERR_NOMEM;
}

int campaign_decode(const char *bytes, size_t len, struct campaign *ret, struct message_fault *fault)
{
    AUTO_JSON json_t *root = NULL;
    *ret = (struct campaign){.list = NULL};
    int rc = message_parse(&form, bytes, len, &root, fault);
    if (rc == 0) rc = message_read(&form, root, ret, fault);
    if (rc < 0) return rc;
    const json_t *list = json_object_get(root, "licences");
    bool needs = ret->selector == CAMPAIGN_LIST;
    if (needs != (list != NULL) || (ret->selector == CAMPAIGN_FILTER) != (ret->filter[0] != '\0')) {
        if (fault) *fault = (struct message_fault){"selector: filter or licences do not go with it"};
        return ERR_INVALID;
    }
    return list ? read_list(list, ret, fault) : 0;
}

static void write_list(const char *list, struct buf *out)
{
    bool first = true;
    (void)buf_adds(out, ",\"licences\":[");
    for (const char *p = list, *end; (end = strchr(p, '\n')); p = end + 1) {
        (void)buf_addf(out, "%s\"%.*s\"", first ? "" : ",", (int)(end - p), p); /* [A-Za-z0-9_+=,.@-] */
        first = false;
    }
    (void)buf_addc(out, ']');
}

int campaign_encode(const struct campaign *c, struct buf *out)
{
    size_t before = out->len;
    (void)buf_addc(out, '{');
    int rc = message_write_members(&form, c, out);
    if (rc == 0 && c->list) write_list(c->list, out);
    (void)buf_addc(out, '}');
    if (rc == 0 && out->error == 0 && out->len - before > form.max_bytes) rc = ERR_TOO_LARGE;
    return rc < 0 ? rc : out->error;
}

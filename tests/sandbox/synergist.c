/* The Synergist API of the simulated instances.
 *
 * Envelopes, errors and attachments follow the vendor's documentation (apidoc.synergist.co.uk: structure, rest-verbs,
 * system-api, attachment-details). Writing and reading the AWS fields of System Parameters and the test call are not
 * documented by the vendor; what is here is this project's default profile: area system, actions update and testaws,
 * the model systemdetails. What an instance can do is a flag each, since no two installations are alike.
 *
 * The traps are kept: names are case-blind, errors are XML at 404 unless the instance is of another style, an update
 * does not echo what it changed, and an update with an identifier and no other field deletes. */
#include "tests/sandbox/synergist.h"

#include "tests/sandbox/s3.h"
#include "tests/sandbox/sigv4.h"
#include "tests/sandbox/uses.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FIELD_KEY     "systemparameters_iamaccesskey"
#define FIELD_SECRET  "systemparameters_iamsecretkey"
#define FIELD_VERSION "systemparametersrecordversionnumber"
#define API_VERSION   "4"
#define PRESIGN_S     86400

/* ---- routing --------------------------------------------------------------------------------------------- */

/* Copies one path segment in lower case; returns the rest. */
static const char *segment(struct request *r, const char *p, const char **ret)
{
    size_t len = strcspn(p, "/");
    char *text = form_decode(&r->arena, p, len, 0, NULL);
    for (char *c = text; *c; c++) *c = (char)tolower((unsigned char)*c);
    *ret = text;
    return p + len + (p[len] == '/');
}

static const char *system_action(const struct request *r)
{
    const char *action = form_get_any_case(&r->params, "action");
    if (!action || !*action) return "Read";
    if (strcasecmp(action, "version") == 0) return "Version";
    if (strcasecmp(action, "update") == 0) return "Update";
    if (strcasecmp(action, "testaws") == 0) return "TestAws";
    return "Unknown";
}

bool synergist_route(struct world *w, struct request *r, const char *host_licence)
{
    const char *name = host_licence, *api, *file, *rest = r->path + 1;
    if (!name) rest = segment(r, rest, &name);
    rest = segment(r, rest, &api);
    (void)segment(r, rest, &file);
    bool json = strcmp(api, "jsonapi") == 0, xml = strcmp(api, "xmlapi") == 0;
    if (!json && !xml) return false;
    r->service = SVC_INSTANCE;
    r->xml_api = xml;
    r->licence = world_licence(w, name);
    r->account = r->licence ? r->licence->user->account : NULL;
    r->target = r->licence ? r->licence->user : NULL;
    r->action = "Unknown";
    const char *suffix = xml ? ".xml" : ".json";
    size_t len = strlen(file), cut = strlen(suffix);
    if (len <= cut || strcmp(file + len - cut, suffix) != 0) return true;
    if (len - cut == 6 && strncmp(file, "system", 6) == 0) r->action = system_action(r);
    if (len - cut == 11 && strncmp(file, "attachments", 11) == 0) r->action = "Attachments";
    return true;
}

/* ---- envelopes ------------------------------------------------------------------------------------------- */

/* "name": with the name's first letter raised on instances that write mixed case. */
static void member(struct buf *b, const struct licence *l, const char *name)
{
    bool mixed = l && l->flags.mixed_case;
    buf_printf(b, "\"%c%s\":", mixed ? toupper((unsigned char)*name) : *name, name + 1);
}

static void json_error(struct request *r, const char *code, const char *text)
{
    struct buf *b = &r->reply.body;
    const struct licence *l = r->licence;
    r->reply.type = "application/json";
    buf_putc(b, '{');
    member(b, l, "responsecode");
    buf_puts(b, "0,");
    member(b, l, "responsestatus");
    buf_puts(b, "\"ERROR\",");
    member(b, l, "errorcode");
    buf_printf(b, "%lld,", atoll(code));
    member(b, l, "errormessage");
    buf_json(b, text);
    buf_putc(b, ',');
    member(b, l, "success");
    buf_puts(b, "false}");
}

void synergist_error(struct request *r, int http, const char *code, const char *text)
{
    struct buf *b = &r->reply.body;
    int style = r->licence ? r->licence->flags.error_style : STYLE_HTML;
    if (r->xml_api && style != STYLE_OLD_XML && style != STYLE_HTML) style = STYLE_XML;
    buf_clear(b);
    r->reply.status = style == STYLE_JSON_200 && http == 404 ? 200 : http;
    r->reply.type = "text/xml";
    switch (style) {
    case STYLE_XML:
        buf_printf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Responses><Error ErrorID=\"%s\">", code);
        buf_element(b, "ErrorText", text);
        buf_puts(b, "</Error></Responses>");
        break;
    case STYLE_OLD_XML:
        buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Errors><Error>");
        buf_element(b, "ErrorID", code);
        buf_element(b, "ErrorText", text);
        buf_puts(b, "</Error></Errors>");
        break;
    case STYLE_HTML:
        r->reply.type = "text/html";
        buf_puts(b, "<!DOCTYPE html><html><head><title>404 Not Found</title></head>"
                    "<body><h1>Not Found</h1><p>The requested page was not found.</p></body></html>");
        break;
    default:
        json_error(r, code, text);
    }
}

/* Opens a success reply up to and including the opening of "data". */
static void begin(struct request *r, bool update, int rows, const char *message)
{
    struct buf *b = &r->reply.body;
    const struct licence *l = r->licence;
    r->reply.status = 200;
    r->reply.type = r->xml_api ? "text/xml" : "application/json";
    if (r->xml_api && update) {
        buf_puts(b, "<Responses><Success><SuccessText>data processed successfully.</SuccessText><Data>");
        return;
    }
    if (r->xml_api) {
        buf_printf(b, "<systemparameters morepages=\"False\" totalpages=\"1\" totalrows=\"%d\">", rows);
        return;
    }
    static const char *const start[] = {"responsecode", "responsestatus", "errorcode", "errormessage"};
    static const char *const value[] = {"1", "\"OK\"", "0", "\"\""};
    buf_putc(b, '{');
    for (int i = 0; i < 4; i++) {
        member(b, l, start[i]);
        buf_printf(b, "%s,", value[i]);
    }
    member(b, l, "responsemessage");
    buf_json(b, message);
    buf_putc(b, ',');
    if (update) {
        member(b, l, "warningmessage");
        buf_puts(b, "\"\",");
    } else {
        buf_printf(b, "\"totalrows\":%d,\"totalpages\":1,\"pagerows\":%d,\"pagenumber\":1,", rows, rows);
    }
    member(b, l, "success");
    buf_puts(b, "true,");
    member(b, l, "data");
    buf_putc(b, '[');
}

static void end(struct request *r, bool update)
{
    if (!r->xml_api)
        buf_puts(&r->reply.body, "]}");
    else
        buf_puts(&r->reply.body, update ? "</Data></Success></Responses>" : "</systemparameters>");
}

static void row_begin(struct request *r, const char *uuid)
{
    struct buf *b = &r->reply.body;
    if (r->xml_api)
        buf_printf(b, "<system systemparameters_uuid=\"%s\">", uuid);
    else
        buf_printf(b, "%s{", b->data[b->len - 1] == '[' ? "" : ",");
}

static void row_end(struct request *r)
{
    struct buf *b = &r->reply.body;
    if (r->xml_api)
        buf_puts(b, "</system>");
    else
        buf_putc(b, '}');
}

/* One field of a row; text == NULL prints the number. */
static void field(struct request *r, const char *name, const char *text, long long number)
{
    struct buf *b = &r->reply.body;
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%lld", number);
    if (r->xml_api) {
        buf_element(b, name, text ? text : digits);
        return;
    }
    if (b->data[b->len - 1] != '{') buf_putc(b, ',');
    member(b, r->licence, name);
    if (text)
        buf_json(b, text);
    else
        buf_puts(b, digits);
}

/* ---- who calls ------------------------------------------------------------------------------------------- */

/* Returns true when the caller may go on. */
static bool log_in(struct request *r)
{
    const struct licence *l = r->licence;
    const char *user = form_get_any_case(&r->params, "user"), *password = form_get_any_case(&r->params, "password");
    const char *hash = form_get_any_case(&r->params, "sha512password");
    char wanted[129], name[80];
    if (!user || !*user || ((!password || !*password) && (!hash || !*hash))) {
        synergist_error(r, 404, "404001", "no credentials supplied");
        return false;
    }
    (void)snprintf(name, sizeof(name), "keyroll-%s", l->lower);
    hash_sha512_hex(l->password, strlen(l->password), wanted);
    bool good = strcasecmp(user, name) == 0 &&
                (password && *password ? strcmp(password, l->password) == 0 : strcmp(hash, wanted) == 0);
    if (!good || l->flags.login_refused) {
        synergist_error(r, 404, "404002", "invalid credentials supplied");
        return false;
    }
    if (!l->flags.disabled) return true;
    synergist_error(r, 404, "404003", "account disabled");
    return false;
}

/* ---- system parameters ----------------------------------------------------------------------------------- */

static void read_version(struct request *r)
{
    begin(r, false, 1, "");
    row_begin(r, r->licence->uuid);
    if (!r->xml_api) field(r, "uuid", r->licence->uuid, 0);
    field(r, "systemparameters_versionno", NULL, 13);
    field(r, "systemparameters_versionrevision", "a", 0);
    field(r, "variable_apiversion", API_VERSION, 0);
    row_end(r);
    end(r, false);
}

/* The id that a read shows, which may lag behind the one in use. */
static const char *shown_id(const struct licence *l, int64_t now_ms)
{
    const char *id = now_ms < l->show_old_until_ms ? l->before.id : l->stored.id;
    return id ? id : "";
}

static void read_details(struct world *w, struct request *r)
{
    struct licence *l = r->licence;
    const char *style = form_get_any_case(&r->params, "style");
    const char *model = form_get_any_case(&r->params, "modelstructure");
    bool known = (!style || strcasecmp(style, "modeldata") == 0) && model && strcasecmp(model, "systemdetails") == 0;
    if (!l->flags.readback || !known) {
        synergist_error(r, 404, "404004", "request not recognised");
        return;
    }
    uses_settle(w, l, r->now_ms);
    begin(r, false, 1, "");
    row_begin(r, l->uuid);
    if (!r->xml_api) field(r, "uuid", l->uuid, 0);
    field(r, FIELD_KEY, shown_id(l, r->now_ms), 0);
    field(r, FIELD_SECRET, l->stored.secret ? "********" : "", 0);
    field(r, "systemparameters_timestampmodified", NULL, l->modified_ms / 1000);
    field(r, FIELD_VERSION, NULL, l->record_version);
    row_end(r);
    end(r, false);
}

/* What an update asks for. Strings live in the request's arena. */
struct change {
    const char *key_id;
    const char *secret;
    const char *uuid;
    const char *record_version;
};

/* Files one name and value; unknown fields are ignored, as a field of another table would be. */
static void change_set(struct change *c, const char *name, const char *value)
{
    if (strcasecmp(name, FIELD_KEY) == 0)
        c->key_id = value;
    else if (strcasecmp(name, FIELD_SECRET) == 0)
        c->secret = value;
    else if (strcasecmp(name, "uuid") == 0 || strcasecmp(name, "systemparameters_uuid") == 0)
        c->uuid = value;
    else if (strcasecmp(name, FIELD_VERSION) == 0)
        c->record_version = value;
}

static bool parse_json(struct request *r, const char *input, struct change *c)
{
    json_t *root = json_loads(input, 0, NULL);
    json_t *row = json_array_get(json_object_get(root, "data"), 0), *value;
    const char *name;
    bool good = json_is_object(row);
    json_object_foreach(row, name, value)
    {
        if (json_is_string(value))
            change_set(c, name, arena_dup(&r->arena, json_string_value(value), json_string_length(value)));
        else if (json_is_integer(value))
            change_set(c, name, arena_printf(&r->arena, "%lld", (long long)json_integer_value(value)));
    }
    json_decref(root);
    return good;
}

/* <data><field>value</field>...</data>: flat, as the vendor shows it. */
static bool parse_xml(struct request *r, const char *input, struct change *c)
{
    const char *p = strcasestr(input, "<data>");
    if (!p) return false;
    p += 6;
    while ((p = strchr(p, '<')) && p[1] != '/') {
        size_t len = strcspn(p + 1, ">");
        const char *name = arena_dup(&r->arena, p + 1, len), *value = p + 1 + len;
        if (!*value) return false;
        const char *close = strchr(++value, '<');
        if (!close) return false;
        struct buf text = {0};
        for (const char *q = value; q < close; q++) {
            if (strncmp(q, "&amp;", 5) == 0)
                buf_putc(&text, '&'), q += 4;
            else if (strncmp(q, "&lt;", 4) == 0)
                buf_putc(&text, '<'), q += 3;
            else if (strncmp(q, "&gt;", 4) == 0)
                buf_putc(&text, '>'), q += 3;
            else
                buf_putc(&text, *q);
        }
        change_set(c, name, arena_dup(&r->arena, text.data ? text.data : "", text.len));
        buf_done(&text);
        p = strchr(close, '>');
        if (!p) return false;
    }
    return true;
}

static void carry_out(struct world *w, struct licence *l, const struct change *c)
{
    uses_settle(w, l, world_now_ms(w));
    if (!c->key_id && !c->secret) {
        instance_write(w, l, NULL, NULL); /* identifier alone: the record's fields are deleted */
        return;
    }
    const char *id = c->key_id ? c->key_id : l->stored.id, *secret = c->secret ? c->secret : l->stored.secret;
    instance_write(w, l, id && *id ? id : NULL, secret && *secret ? secret : NULL);
}

static void update(struct world *w, struct request *r)
{
    struct licence *l = r->licence;
    const char *input = form_get_any_case(&r->params, "input");
    struct change c = {0};
    if (!l->flags.write) {
        synergist_error(r, 404, "404500", "invalid action update");
        return;
    }
    bool parsed = input && (r->xml_api ? parse_xml(r, input, &c) : parse_json(r, input, &c));
    if (!parsed || (!c.key_id && !c.secret && !c.uuid)) {
        synergist_error(r, 404, "404004", "request not recognised");
        return;
    }
    if (c.uuid && strcasecmp(c.uuid, l->uuid) != 0) {
        synergist_error(r, 404, "404500", "record not found");
        return;
    }
    if (c.record_version && atoll(c.record_version) != l->record_version) {
        synergist_error(r, 404, "404500", "record version mismatch");
        return;
    }
    carry_out(w, l, &c);
    begin(r, true, 1, "data processed successfully.");
    if (!r->xml_api) row_begin(r, l->uuid);
    field(r, "uuid", l->uuid, 0);
    field(r, "systemparameterstimestampmodified", NULL, l->modified_ms / 1000);
    field(r, FIELD_VERSION, NULL, l->record_version);
    if (!r->xml_api) row_end(r);
    end(r, true);
}

static void test_aws(struct world *w, struct request *r)
{
    if (!r->licence->flags.test) {
        synergist_error(r, 404, "404500", "invalid action testaws");
        return;
    }
    const char *code = uses_once(w, r->licence, r->now_ms);
    if (code) {
        synergist_error(r, 404, "404600", arena_printf(&r->arena, "S3 test failed: %s", code));
        return;
    }
    begin(r, false, 0, "test successful");
    end(r, false);
}

/* ---- attachments ----------------------------------------------------------------------------------------- */

static const char *presigned(struct world *w, struct request *r, const char *method, int number)
{
    const struct licence *l = r->licence;
    if (!l->flags.presigned || !l->stored.id || !l->stored.secret) return "";
    int port = r->tls ? w->tls_port : w->port;
    bool virtual_host = strcmp(w->presign_style, "virtual") == 0;
    const char *host = virtual_host ? arena_printf(&r->arena, "%s.s3.%s.localhost:%d", l->bucket, l->region, port)
                                    : arena_printf(&r->arena, "127.0.0.1:%d", port);
    const char *path = virtual_host ? arena_printf(&r->arena, "/attachment_%d.txt", number)
                                    : arena_printf(&r->arena, "/%s/attachment_%d.txt", l->bucket, number);
    const char *query =
        sigv4_presign(&r->arena, method, host, path, l->region, l->stored.id, l->stored.secret, r->now_ms, PRESIGN_S);
    return arena_printf(&r->arena, "%s://%s%s?%s", r->tls ? "https" : "http", host, path, query);
}

static void attachments(struct world *w, struct request *r)
{
    struct licence *l = r->licence;
    const char *asked = form_get_any_case(&r->params, "attachmentid");
    const char *action = form_get_any_case(&r->params, "action");
    if (action && *action) {
        synergist_error(r, 404, "404500", arena_printf(&r->arena, "invalid action %.40s", action));
        return;
    }
    uses_settle(w, l, r->now_ms);
    int only = asked && *asked ? atoi(asked) : 0;
    bool exists = !only || (only >= 1 && only <= S3_ATTACHMENTS);
    begin(r, false, !exists ? 0 : only ? 1 : S3_ATTACHMENTS, "");
    for (int i = 1; i <= S3_ATTACHMENTS && exists; i++) {
        if (only && i != only) continue;
        row_begin(r, l->uuid);
        field(r, "attachmentID", NULL, i);
        field(r, "attachmentActivityID", NULL, 7160 + i);
        field(r, "attachmentOriginalFilename", arena_printf(&r->arena, "attachment_%d.txt", i), 0);
        field(r, "attachmentS3UrlGet", presigned(w, r, "GET", i), 0);
        field(r, "attachmentS3UrlPut", presigned(w, r, "PUT", i), 0);
        row_end(r);
    }
    end(r, false);
    if (l->flags.presigned && l->stored_key && key_usable(w, l->stored_key, SVC_S3, r->now_ms))
        uses_issued(l, l->stored_key, r->now_ms);
}

/* ---- dispatch -------------------------------------------------------------------------------------------- */

void synergist_handle(struct world *w, struct request *r)
{
    struct licence *l = r->licence;
    if (!l) {
        synergist_error(r, 404, "404004", "request not recognised");
        return;
    }
    if (l->flags.down) {
        r->reply.end = REPLY_CLOSE;
        return;
    }
    r->reply.delay_ms += l->flags.slow_ms;
    if (!log_in(r)) return;
    if (!form_get_any_case(&r->params, "version")) {
        synergist_error(r, 404, "404004", "request not recognised");
    } else if (strcmp(r->action, "Version") == 0) {
        read_version(r);
    } else if (strcmp(r->action, "Read") == 0) {
        read_details(w, r);
    } else if (strcmp(r->action, "Update") == 0) {
        update(w, r);
    } else if (strcmp(r->action, "TestAws") == 0) {
        test_aws(w, r);
    } else if (strcmp(r->action, "Attachments") == 0) {
        attachments(w, r);
    } else {
        const char *action = form_get_any_case(&r->params, "action");
        bool named = action && *action;
        synergist_error(r, 404, named ? "404500" : "404004",
                        named ? arena_printf(&r->arena, "invalid action %.40s", action) : "request not recognised");
    }
}

/* Documents of campaigns for the commands. The scheduler does the same without waiting (campaigns.c). */
#include "producer/campaign_cmd.h"

#include "lib/err.h"
#include "producer/held.h"

#include <stdio.h>
#include <string.h>

struct found {
    struct campaign *list;
    size_t n;
    int err;
};

static int by_creation(const void *a, const void *b)
{
    const struct campaign *x = a, *y = b;
    if (x->created_at_ms != y->created_at_ms) return x->created_at_ms < y->created_at_ms ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void take(struct found *f, const char *name, const char *doc, size_t len)
{
    struct message_fault fault = {""};
    int rc = campaign_decode(doc, len, &f->list[f->n], &fault);
    if (rc == 0) {
        f->n++;
        return;
    }
    campaign_done(&f->list[f->n]);
    fprintf(stderr, "keyroll campaign: %s cannot be read: %s\n", name, fault.text[0] ? fault.text : err_text(rc));
}

static void copy_all(void *into, const void *result)
{
    struct found *f = into;
    const struct redis_reply *r = result;
    f->err = r->err;
    if (r->err || r->value->type != REDIS_ARRAY) return;
    f->list = calloc(r->value->count / 2 + 1, sizeof *f->list);
    if (!f->list) f->err = ERR_NOMEM;
    for (size_t i = 0; f->list && i + 1 < r->value->count; i += 2) {
        const struct redis_value *k = redis_item(r->value, i), *v = redis_item(r->value, i + 1);
        if (k && v && k->type == REDIS_STRING && v->type == REDIS_STRING) take(f, k->str, v->str, v->len);
    }
    if (f->n) qsort(f->list, f->n, sizeof *f->list, by_creation);
}

int campaign_get_all(struct client *c, struct campaign **ret_list, size_t *ret_n)
{
    struct found f = {NULL, 0, 0};
    char key[STORE_KEY_MAX];
    int rc = client_redis(c);
    if (rc < 0) return rc;
    store_key(&c->store, NULL, "campaigns", key);
    const char *const words[] = {"HGETALL", key};
    rc = client_command(c, 2, words, copy_all, &f);
    if (rc == 0 && f.err) rc = client_fail(c, f.err, "Redis: %s", err_text(f.err));
    if (rc < 0) {
        campaign_list_free(f.list, f.n);
        return rc;
    }
    *ret_list = f.list;
    *ret_n = f.n;
    return 0;
}

void campaign_list_free(struct campaign *list, size_t n)
{
    for (size_t i = 0; i < n; i++) campaign_done(&list[i]);
    free(list);
}

int campaign_get(struct client *c, const char *name, struct campaign *ret)
{
    struct campaign *list = NULL;
    size_t n = 0;
    int rc = campaign_get_all(c, &list, &n);
    if (rc < 0) return rc;
    rc = client_fail(c, ERR_NOT_FOUND, "there is no campaign %s; see keyroll campaign list", name);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) != 0) continue;
        *ret = list[i];
        list[i].list = NULL;
        rc = 0;
    }
    campaign_list_free(list, n);
    if (rc == 0) c->error[0] = '\0';
    return rc;
}

int campaign_set(struct client *c, struct campaign *doc, int64_t expected)
{
    AUTO_BUF struct buf text;
    struct store_reply r = {0};
    struct waiter w;
    char opid[STORE_TOKEN_MAX];
    buf_init(&text, CAMPAIGN_MAX_BYTES);
    doc->revision = expected + 1;
    doc->changed_at_ms = clock_wall_ms(&clock_system);
    person_name(doc->by, sizeof doc->by);
    int rc = campaign_encode(doc, &text);
    if (rc == ERR_TOO_LARGE)
        return client_fail(c, rc, "the list is too long: at most %d bytes; use --filter, or several campaigns",
                           CAMPAIGN_MAX_BYTES);
    if (rc < 0) return client_fail(c, rc, "%s", err_text(rc));
    store_opid(&c->store, opid);
    rc = store_campaign_put(&c->store, doc->name, expected, opid, text.data, text.len,
                            client_ticket(&w, client_copy_reply, &r));
    rc = client_reply(c, rc, &w, &r, "Redis");
    if (rc == ERR_JOURNAL_VERSION)
        return client_fail(c, rc,
                           expected ? "%s was changed by somebody else meanwhile: look again"
                                    : "there is a campaign %s already",
                           doc->name);
    if (rc < 0) return rc;
    const struct kafka_message_out m = {
        c->o->topic_campaigns, doc->name, strlen(doc->name), text.data, text.len, NULL, 0};
    rc = client_kafka(c);
    if (rc == 0) rc = client_produce(c, &m);
    if (rc < 0) { /* it holds: the scheduler writes it to Kafka as soon as it can */
        fprintf(stderr, "keyroll campaign: noted in Redis; Kafka does not have it yet (%s)\n", c->error);
        c->error[0] = '\0';
    }
    return 0;
}

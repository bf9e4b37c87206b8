/* Two reads, each of which may fail by itself: an instance that is away must not hide what AWS says. */
#include "producer/look.h"

#include "lib/err.h"
#include "lib/synergist.h"

#include <stdio.h>
#include <string.h>

struct instance_target look_target(const struct inventory_row *row)
{
    return (struct instance_target){row->licence, row->instance_url, row->profile, row->credentials};
}

static void list_keys(struct client *c, const struct inventory_row *row, struct look *l)
{
    struct aws_result a;
    const struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS,
                                  .account = row->account,
                                  .user = row->user,
                                  .timeout_ms = c->o->read_timeout_ms,
                                  .urgent = true};
    l->list_err = client_aws_call(c, &q, &a);
    snprintf(l->list_why, sizeof l->list_why, "%s", l->list_err ? c->error : "");
    if (l->list_err) return;
    l->n_keys = a.n_keys;
    memcpy(l->keys, a.keys, a.n_keys * sizeof a.keys[0]);
}

static void read_instance(struct client *c, const struct inventory_row *row, struct look *l)
{
    struct instance_result i;
    const struct instance_request q = {
        .op = INSTANCE_READ_KEY, .target = look_target(row), .timeout_ms = c->o->read_timeout_ms};
    l->read_err = client_instance_call(c, &q, &i);
    snprintf(l->read_why, sizeof l->read_why, "%s", l->read_err ? c->error : "");
    if (l->read_err) return;
    l->seen = i.seen;
    l->proof = i.proof;
    snprintf(l->seen_id, sizeof l->seen_id, "%s", i.seen == INSTANCE_SEEN_ID ? i.key_seen : "");
}

int look_at(struct client *c, const struct inventory_row *row, struct look *ret)
{
    *ret = (struct look){.seen = INSTANCE_SEEN_UNKNOWN};
    int rc = client_aws(c);
    if (rc == 0) rc = client_instances(c);
    if (rc < 0) return rc;
    struct instance_port port = synergist_port(c->instances);
    if (!port.abilities(port.self, row->profile, &ret->can))
        return client_fail(c, ERR_NOT_FOUND, "%s: there is no profile %s", row->licence, row->profile);
    list_keys(c, row, ret);
    read_instance(c, row, ret);
    c->error[0] = '\0';
    return 0;
}

/* Life of one job under way (rotation.h): made from a job, begun at the table of its kind, freed with its secrets
 * wiped. */
#include "worker/rotation.h"

#include "lib/err.h"
#include "lib/text.h"

#include <stdio.h>
#include <string.h>

static const struct saga_table *const tables[JOB_KINDS] = {
    [JOB_ROTATE] = &rotate_table, [JOB_RETIRE] = &retire_table, [JOB_REAP] = &reap_table, [JOB_AUDIT] = &audit_table};

int rotation_new(struct rotation_env *env, struct job *job, struct rotation **ret_rotation)
{
    char key[IDENTITY_KEY_MAX];
    struct rotation *r = calloc(1, sizeof(*r));
    if (!r) return ERR_NOMEM;
    r->env = env;
    r->job = job;
    int rc = job_key(job, key);
    r->no_profile = !env->instance.abilities(env->instance.self, job->profile, &r->can);
    if (rc < 0) {
        r->job = NULL;
        rotation_free(r);
        return rc;
    }
    lease_init(&r->lease, env->leases, key);
    record_init(&r->record, job->licence, job->account, job->user);
    journal_init(&r->journal, JOURNAL_ROTATE);
    text_copy(r->target, sizeof(r->target), job->replace_key_id);
    r->retry_after_ms = -1;
    r->next_ms = r->offer_ms = r->aws_ms = TIME_NONE;
    r->begun_mono_ms = clock_mono_ms(env->clock);
    *ret_rotation = r;
    return 0;
}

bool rotation_room_for_keys(struct rotation *r, size_t n)
{
    if (n <= r->max_keys) return true;
    struct aws_key *keys = reallocarray(r->keys, n, sizeof(*keys));
    if (!keys) return false;
    r->keys = keys;
    r->max_keys = n;
    return true;
}

int rotation_begin(struct saga_engine *e, struct rotation *r)
{
    return saga_start(e, &r->saga, tables[r->job->kind], 0);
}

void rotation_free(struct rotation *r)
{
    if (!r) return;
    if (r->env->turns.end) r->env->turns.end(r->env->turns.self, &r->turn);
    lease_dropped(&r->lease);
    secret_free(r->secret);
    secret_free(r->kept_secret);
    free(r->keys);
    free(r->exposed);
    free(r->job);
    free(r);
}

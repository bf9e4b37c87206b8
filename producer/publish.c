/* A job carries its whole target and no secret (design, section 4). Its id is made of what it is about, so that work
 * that is published twice is the same job. The hour's count is of 61 one-minute counters, as in the workers' gate: in
 * no sixty minutes do more pass than allowed. */
#include "producer/publish.h"

#include "lib/err.h"
#include "lib/trace.h"
#include "schema/options.h"

#include <stdio.h>
#include <string.h>

#define USUAL_BYTES 1000 /* of an encoded job */

int publish_make(const struct inventory_row *row, const struct policy_verdict *v, const char *by, int64_t now_ms,
                 struct job *ret)
{
    struct job j = {
        .kind = v->kind, .reason = v->reason, .rotation = v->rotation, .urgent = v->urgent, .created_at_ms = now_ms};
    if (v->kind < 0) return ERR_INVALID;
    inventory_target(row, &j);
    if (v->at_ms > 0 && v->at_ms < now_ms) j.due_at_ms = v->at_ms;
    snprintf(j.replace_key_id, sizeof j.replace_key_id, "%s", v->replace_key_id);
    snprintf(j.requested_by, sizeof j.requested_by, "%s", by);
    int rc = job_identify(&j);
    if (rc < 0) return rc;
    *ret = j;
    return 0;
}

int publish_job(struct kafka_port kafka, const struct options *o, const struct job *j, struct ticket t)
{
    char key[IDENTITY_KEY_MAX];
    struct job_headers h = {.attempt = 1, .first_seen_ms = j->created_at_ms};
    struct job_header_set set;
    AUTO_BUF struct buf value;
    buf_init(&value, JOB_MAX_BYTES);
    int rc = buf_reserve(&value, USUAL_BYTES);
    if (rc == 0) rc = job_encode(j, &value);
    if (rc == 0) rc = job_key(j, key);
    if (rc < 0) return rc;
    snprintf(h.job_id, sizeof h.job_id, "%s", j->job_id);
    trace_make(&rng_system, h.traceparent);
    job_headers_encode(&h, &set);
    const struct kafka_message_out m = {.topic = j->urgent ? o->topic_urgent : o->topic_jobs,
                                        .key = key,
                                        .key_len = strlen(key),
                                        .value = value.data,
                                        .value_len = value.len,
                                        .headers = set.headers,
                                        .n_headers = set.n};
    return kafka.produce(kafka.self, &m, t);
}

int64_t pace_left(const struct pace *p, int64_t most_per_hour, int64_t now_ms)
{
    int64_t minute = now_ms / 60000, sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(p->minute); i++)
        if (p->minute[i] > minute - 61 && p->minute[i] <= minute) sum += p->count[i];
    return sum < most_per_hour ? most_per_hour - sum : 0;
}

void pace_count(struct pace *p, int64_t now_ms)
{
    int64_t minute = now_ms / 60000;
    size_t i = (size_t)(minute % (int64_t)ARRAY_LEN(p->minute));
    if (p->minute[i] != minute) {
        p->minute[i] = minute;
        p->count[i] = 0;
    }
    p->count[i]++;
}

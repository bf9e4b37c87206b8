/* Alarms (alarms.h). The type stands in a header, so that the bodies of most events are never read. */
#include "producer/alarms.h"

#include "lib/err.h"
#include "lib/kafka_follow.h"

struct alarms {
    struct alarms_options o;
    struct kafka_follow *follow;
};

bool alarms_is_one(const struct event *e)
{
    if (e->type == EVENT_RECOVERED) return true;
    return e->type == EVENT_AUDITED && (e->error_code[0] || e->reason[0] || e->repair);
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct alarms *a = arg;
    struct event e;
    struct message_fault fault;
    int type = event_headers_type(m->headers, m->n_headers);
    if (type != EVENT_RECOVERED && type != EVENT_AUDITED) return;
    if (event_decode(m->value, m->value_len, &e, &fault) == 0 && alarms_is_one(&e)) a->o.rung(a->o.arg, &e);
}

static void on_fatal(void *arg, const char *reason)
{
    struct alarms *a = arg;
    a->o.on_fatal(a->o.arg, reason);
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    struct alarms *a = arg;
    a->o.on_log(a->o.arg, level, fac, text);
}

int alarms_new(const struct alarms_options *o, struct alarms **ret, char **ret_reason)
{
    struct alarms *a = calloc(1, sizeof *a);
    if (!a) return ERR_NOMEM;
    a->o = *o;
    const struct kafka_follow_options ko = {.brokers = o->o->brokers,
                                            .client_id = "keyroll-scheduler-events",
                                            .topic = o->o->topic_events,
                                            .from_end = true,
                                            .conf = o->o->kafka,
                                            .n_conf = o->o->n_kafka,
                                            .on_message = on_message,
                                            .on_fatal = on_fatal,
                                            .on_log = on_log,
                                            .arg = a};
    int rc = kafka_follow_new(o->loop, &ko, &a->follow, ret_reason);
    if (rc < 0)
        free(a);
    else
        *ret = a;
    return rc;
}

void alarms_free(struct alarms *a, int64_t wait_ms)
{
    if (!a) return;
    kafka_follow_free(a->follow, wait_ms);
    free(a);
}

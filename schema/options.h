/* All settings of both programs, in one table (schema/options_table.c) and one struct. Read at start, then read-only.
 */
#ifndef KEYROLL_OPTIONS_H
#define KEYROLL_OPTIONS_H

#include "lib/kafka_out.h"
#include "lib/settings.h"

#include <stdbool.h>
#include <stdint.h>

/* Which program reads a setting. keyroll takes all as flags, since `keyroll up` hands them on. */
enum options_program {
    OPTIONS_SCHEDULER = 1, /* keyroll schedule */
    OPTIONS_WORKER = 2,    /* keyroll-worker */
    OPTIONS_COMMANDS = 4,  /* keyroll's other commands */
    OPTIONS_ALL = 7,
};
enum options_mode { OPTIONS_OBSERVE, OPTIONS_ROTATE };
enum options_path_style { OPTIONS_PATH_STYLE_AUTO, OPTIONS_PATH_STYLE_TRUE, OPTIONS_PATH_STYLE_FALSE };

#define OPTIONS_RETRIES_MAX 8

/* Strings and lists are owned by the struct; NULL or empty when unset unless said otherwise. */
struct options {
    struct settings settings; /* where values came from; see settings_source() */
    char *config_path;        /* setting `config`: the settings file that was read, NULL: none */

    /* Kafka */
    char *brokers; /* bootstrap servers host:port,..., as librdkafka takes them; NULL: see options_require() */
    struct kafka_conf *kafka; /* kafka.* passed through; n_kafka of them */
    size_t n_kafka;
    char *topic_prefix; /* never NULL */
    char *group;        /* never NULL */
    int64_t session_timeout_ms, heartbeat_ms;
    struct settings_list retry_delays;           /* as written, rising */
    int64_t retry_delay_ms[OPTIONS_RETRIES_MAX]; /* retry_delays.n of them */
    int64_t retry_cap_ms;
    int64_t max_attempts;
    /* Topic names, made from topic_prefix. */
    char *topic_jobs, *topic_urgent, *topic_dead, *topic_events, *topic_keys, *topic_campaigns, *topic_triggers;
    char *topic_retry[OPTIONS_RETRIES_MAX]; /* retry_delays.n of them */

    /* Redis */
    char *redis_url;           /* never holds a password */
    char *redis_password_file; /* options_redis_password() reads it */
    struct secret *redis_password;
    char *redis_prefix; /* never NULL */

    /* AWS */
    char *ca_file;    /* CA bundle for AWS, instances and Redis; NULL: the system's */
    char *aws_region; /* never NULL */
    char *aws_profile;
    char *aws_partition;                                                        /* NULL: from the region */
    char *aws_endpoint, *aws_endpoint_iam, *aws_endpoint_sts, *aws_endpoint_s3; /* as given; see options_endpoint() */
    char *aws_role_template, *aws_external_id;
    char *aws_session_name; /* never NULL; default keyroll-<worker id>, cut to what STS allows */
    int s3_path_style;      /* enum options_path_style; see options_s3_path_style() */
    double iam_calls_per_s; /* 0 = unlimited */
    int64_t iam_share;      /* % */

    /* Fleet */
    char *user_template;                     /* never NULL, checked */
    char *inventory;                         /* file, .csv or .json */
    struct settings_list inventory_discover; /* account ids */
    char *discover_path, *discover_prefix;   /* prefix: default the template's beginning; NULL: any name */
    struct settings_list discover_tag;       /* KEY=VALUE or KEY */
    char *profiles_dir;

    /* Policy */
    int mode;          /* enum options_mode */
    char *policy_file; /* NULL: max_age and max_age_jitter are the one policy */
    int64_t max_rotations_per_hour;
    int64_t triggers_per_hour; /* rotations that triggers may ask for, per licence and hour; 0: triggers are not read */
    int64_t max_age_ms, max_age_jitter_ms;
    int64_t audit_interval_ms, tick_ms;
    double plan_publish_rate; /* jobs per second, 0 = unlimited */

    /* Waits */
    int64_t overlap_ms, quarantine_ms, skew_limit_ms, create_doubt_ms, newcomer_wait_ms;
    int64_t settle_successes, settle_interval_ms, settle_timeout_ms;
    int64_t retire_watch_ms, assisted_poll_ms;

    /* Notices */
    struct settings_list notify_command; /* argv; the first is an absolute path */
    char *notify_url, *notify_url_file;  /* at most one of the two */
    int64_t notify_interval_ms;

    /* Worker */
    struct settings_list escrow_key_file; /* the first seals, all unseal */
    int64_t lease_ttl_ms, lease_renew_ms, lease_max_age_ms;
    int64_t mutate_timeout_ms, read_timeout_ms;
    int64_t max_calls_per_host;
    int64_t max_in_flight, urgent_share; /* urgent_share in % of max_in_flight */
    int64_t drain_timeout_ms;

    /* Process */
    char *listen;    /* host:port for probes and metrics, NULL: off; port 0 = a free one. Commands do not listen */
    int log_level;   /* enum log_level */
    char *worker_id; /* never NULL */
    char *state_dir; /* NULL only when neither it nor HOME nor XDG_STATE_HOME is set */
};

/* Reads defaults, the settings file, the environment and the flags, then checks them (options_check).
 * programs: mask of programs whose flags are taken. *argc, argv: recognised flags are taken out, the rest stays for the
 * command. env: NULL-terminated, usually environ. The file: --config, else $KEYROLL_CONFIG, else endpoints.conf in the
 * state directory (written by `keyroll up`) if it exists, else /etc/keyroll/keyroll.conf if it exists, else none.
 * --config= (empty) reads none. ERR_INVALID, ERR_IO, ERR_NOMEM with *reterr (caller frees; NULL when out of memory):
 * one line for stderr; the program exits 2. *o need not be initialised; options_done() is due in any case. */
MUST_CHECK int options_load(struct options *o, unsigned programs, int *argc, char **argv, char *const *env,
                            char **reterr);
void options_done(struct options *o);

/* Checks what one row alone cannot: user template, lease against deadlines, URLs, retry delays, and that waits shorter
 * than the design's are used on loopback only. Called by options_load. ERR_INVALID with *reterr as above. */
MUST_CHECK int options_check(const struct options *o, char **reterr);
/* Complains about what a command cannot do without. what: mask. ERR_INVALID with *reterr. */
enum options_need {
    OPTIONS_NEED_KAFKA = 1,
    OPTIONS_NEED_REDIS = 2,
    OPTIONS_NEED_ESCROW = 4,
    OPTIONS_NEED_INVENTORY = 8
};
MUST_CHECK int options_require(const struct options *o, unsigned what, char **reterr);

/* https, or http on loopback. */
bool options_notify_url_valid(const char *url);

/* True when this instance (or bucket) URL may be worked on with these waits: they are the design's or longer, or every
 * AWS endpoint in use and the URL are loopback. url NULL: only the settings themselves are looked at. Ask for each
 * inventory row. */
bool options_waits_allowed(const struct options *o, const char *url);
/* Name of the first wait that is shorter than the design's, NULL: none is. */
const char *options_short_wait(const struct options *o);

/* Endpoint override of "iam", "sts" or "s3": the service's own, else the common one, else NULL (AWS's own). Borrowed.
 */
const char *options_endpoint(const struct options *o, const char *service);
/* auto: path style whenever S3 has an endpoint override. */
bool options_s3_path_style(const struct options *o);
/* The Redis password from redis_password or, newly read, from redis_password_file (one trailing line end removed).
 * *ret_password NULL: none is set. ERR_IO with *reterr, ERR_NOMEM. */
MUST_CHECK int options_redis_password(const struct options *o, struct secret **ret_password, char **reterr);

/* The texts. help: rows of the programs in the mask. man: a whole page, keyroll.conf(5). */
void options_write_help(unsigned programs, struct buf *out);
void options_write_sample(struct buf *out);
void options_write_man(struct buf *out);

/* The table itself. */
extern const struct setting options_table[];
extern const size_t options_table_len;

#endif

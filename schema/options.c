/* Settings of both programs: where they are read from, and what one row alone cannot check.
 *
 * Loading runs in the order of precedence (defaults, file, environment, flags), then derives what depends on the
 * machine or on several settings (names of topics, worker id), then checks. The checks keep unsafe combinations from
 * starting at all: a call that outlives its lease, and waits shorter than the design's anywhere but on loopback, where
 * nobody's attachments depend on them. Every refusal is one line that names the setting and what to write. */
#include "schema/options.h"

#include "lib/err.h"
#include "lib/secret.h"
#include "lib/secret_file.h"
#include "schema/identity.h"
#include "lib/url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_CONFIG    "/etc/keyroll/keyroll.conf"
#define ENDPOINTS        "endpoints.conf"
#define LEASE_MARGIN_MS  2000 /* for a call's reply to be written down while the lease still lives */
#define SESSION_NAME_MAX 64   /* RoleSessionName: 2..64 of [\w+=,.@-] */
#define PASSWORD_MAX     4096

static int fail(char **reterr, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(char **reterr, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vasprintf(reterr, fmt, args) < 0) *reterr = NULL;
    va_end(args);
    return ERR_INVALID;
}

static const char *env_get(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=' && (*env)[len + 1]) return *env + len + 1;
    return NULL;
}

/* ---- where the file is ---- */

/* $XDG_STATE_HOME/keyroll, else $HOME/.local/state/keyroll (XDG Base Directory Specification); *ret_dir NULL when
 * neither is set. */
static int default_state_dir(char *const *env, char **ret_dir)
{
    const char *state = env_get(env, "XDG_STATE_HOME"), *home = env_get(env, "HOME");
    int n = 0;
    *ret_dir = NULL;
    if (state && *state == '/')
        n = asprintf(ret_dir, "%s/keyroll", state);
    else if (home)
        n = asprintf(ret_dir, "%s/.local/state/keyroll", home);
    return n < 0 ? ERR_NOMEM : 0;
}

/* The file to read: as given, else the first that exists. *ret_path NULL: none. */
static int find_file(int argc, char *const *argv, char *const *env, char **ret_path)
{
    const char *given = settings_peek_flag(argc, argv, "config");
    if (!given) given = env_get(env, "KEYROLL_CONFIG");
    if (given) return (*ret_path = strdup(given)) ? 0 : ERR_NOMEM;
    const char *state = settings_peek_flag(argc, argv, "state_dir");
    AUTO_FREE char *fallback = NULL, *path = NULL;
    if (!state) state = env_get(env, "KEYROLL_STATE_DIR");
    if (!state) {
        if (default_state_dir(env, &fallback) < 0) return ERR_NOMEM;
        state = fallback;
    }
    if (state && asprintf(&path, "%s/" ENDPOINTS, state) < 0) {
        path = NULL;
        return ERR_NOMEM;
    }
    if (path && access(path, F_OK) == 0) {
        *ret_path = TAKE(path);
        return 0;
    }
    if (access(SYSTEM_CONFIG, F_OK) != 0 && errno != EACCES) return 0; /* may not be looked at: reading it will tell */
    return (*ret_path = strdup(SYSTEM_CONFIG)) ? 0 : ERR_NOMEM;
}

static int read_sources(struct options *o, const char *path, int *argc, char **argv, char *const *env, char **reterr)
{
    struct settings *s = &o->settings;
    int rc = path && *path ? settings_read_file(s, path, reterr) : 0;
    if (rc == 0) rc = settings_read_env(s, env, reterr);
    if (rc == 0) rc = settings_take_flags(s, argc, argv, reterr);
    return rc;
}

/* ---- what is derived ---- */

/* Sets *field to the formatted text unless it is set already. */
static int derive(char **field, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int derive(char **field, const char *fmt, ...)
{
    if (*field) return 0;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(field, fmt, args);
    va_end(args);
    if (n < 0) *field = NULL;
    return n < 0 ? ERR_NOMEM : 0;
}

static int derive_names(struct options *o)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) < 0 || !*host) snprintf(host, sizeof host, "host");
    if (derive(&o->worker_id, "%s-%ld", host, (long)getpid()) < 0) return ERR_NOMEM;
    if (o->aws_session_name) return 0;
    char name[SESSION_NAME_MAX + 1];
    snprintf(name, sizeof name, "keyroll-%s", o->worker_id);
    for (char *p = name; *p; p++)
        if (!identity_user_valid((char[]){*p, 0})) *p = '-'; /* the same set of characters */
    return derive(&o->aws_session_name, "%s", name);
}

static int derive_topics(struct options *o)
{
    const char *prefix = o->topic_prefix ? o->topic_prefix : "";
    int rc = derive(&o->topic_jobs, "%s.jobs", prefix);
    if (rc == 0) rc = derive(&o->topic_urgent, "%s.urgent", prefix);
    if (rc == 0) rc = derive(&o->topic_dead, "%s.dead", prefix);
    if (rc == 0) rc = derive(&o->topic_events, "%s.events", prefix);
    if (rc == 0) rc = derive(&o->topic_keys, "%s.keys", prefix);
    if (rc == 0) rc = derive(&o->topic_campaigns, "%s.campaigns", prefix);
    if (rc == 0) rc = derive(&o->topic_triggers, "%s.triggers", prefix);
    for (size_t i = 0; rc == 0 && i < o->retry_delays.n; i++)
        rc = derive(&o->topic_retry[i], "%s.retry.%s", prefix, o->retry_delays.items[i]);
    return rc;
}

static int derive_kafka(struct options *o)
{
    size_t n = o->settings.n_pairs;
    if (!(o->kafka = calloc(n ? n : 1, sizeof *o->kafka))) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        o->kafka[i] = (struct kafka_conf){o->settings.pairs[i].name, o->settings.pairs[i].value};
    o->n_kafka = n;
    return 0;
}

static int derive_discovery(struct options *o)
{
    const char *end = o->user_template ? strchr(o->user_template, '{') : NULL;
    if (!end || end == o->user_template) return 0;
    return derive(&o->discover_prefix, "%.*s", (int)(end - o->user_template), o->user_template);
}

static int derive_all(struct options *o, char *const *env)
{
    if (!o->state_dir && default_state_dir(env, &o->state_dir) < 0) return ERR_NOMEM;
    if (o->listen && strcmp(o->listen, "off") == 0) {
        free(o->listen);
        o->listen = NULL;
    }
    for (size_t i = 0; i < o->retry_delays.n; i++)
        if (settings_parse_duration(o->retry_delays.items[i], &o->retry_delay_ms[i]) < 0) o->retry_delay_ms[i] = 0;
    int rc = derive_names(o);
    if (rc == 0) rc = derive_topics(o);
    if (rc == 0) rc = derive_kafka(o);
    if (rc == 0) rc = derive_discovery(o);
    return rc;
}

static int load(struct options *o, unsigned programs, int *argc, char **argv, char *const *env, char **reterr)
{
    AUTO_FREE char *path = NULL;
    if (settings_init(&o->settings, options_table, options_table_len, o) < 0) return ERR_NOMEM;
    o->settings.programs = programs;
    o->settings.pass_prefix = "kafka.";
    o->settings.home = env_get(env, "HOME");
    if (find_file(*argc, argv, env, &path) < 0) return ERR_NOMEM;
    int rc = read_sources(o, path, argc, argv, env, reterr);
    if (rc < 0) return rc;
    free(o->config_path);
    o->config_path = path && *path ? TAKE(path) : NULL;
    if (derive_all(o, env) < 0) return ERR_NOMEM;
    return options_check(o, reterr);
}

int options_load(struct options *o, unsigned programs, int *argc, char **argv, char *const *env, char **reterr)
{
    *o = (struct options){0};
    *reterr = NULL;
    return load(o, programs, argc, argv, env, reterr);
}

void options_done(struct options *o)
{
    char **const derived[] = {&o->topic_jobs, &o->topic_urgent,    &o->topic_dead,    &o->topic_events,
                              &o->topic_keys, &o->topic_campaigns, &o->topic_triggers};
    for (size_t i = 0; i < ARRAY_LEN(derived); i++) free(*derived[i]);
    for (size_t i = 0; i < OPTIONS_RETRIES_MAX; i++) free(o->topic_retry[i]);
    free(o->kafka);
    settings_done(&o->settings);
    *o = (struct options){0};
}

/* ---- checks ---- */

static int check_fleet(const struct options *o, char **reterr)
{
    const char *why;
    if (identity_template_check(o->user_template, &why) < 0)
        return fail(reterr, "user_template = \"%.80s\": %s", o->user_template ? o->user_template : "", why);
    for (size_t i = 0; i < o->inventory_discover.n; i++)
        if (!identity_account_valid(o->inventory_discover.items[i]))
            return fail(reterr, "inventory_discover: \"%.40s\" is no account: write its 12 digits",
                        o->inventory_discover.items[i]);
    if (o->aws_role_template &&
        (strncmp(o->aws_role_template, "arn:", 4) != 0 || !strstr(o->aws_role_template, ":role/")))
        return fail(reterr, "aws_role_template = \"%.100s\": write arn:aws:iam::{account}:role/NAME",
                    o->aws_role_template);
    return 0;
}

static int check_words(const struct options *o, char **reterr)
{
    static const char topic_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (!o->topic_prefix || strlen(o->topic_prefix) > 200 || o->topic_prefix[strspn(o->topic_prefix, topic_letters)])
        return fail(reterr, "topic_prefix: write 1 to 200 letters, digits and . _ -");
    if (!o->group) return fail(reterr, "group: the workers need a consumer group, for example keyroll-workers");
    if (!o->redis_prefix || strpbrk(o->redis_prefix, "{} \t"))
        return fail(reterr, "redis_prefix: write at least one character, without blanks and braces, for example kr:");
    if (!o->aws_region || !identity_region_valid(o->aws_region))
        return fail(reterr, "aws_region = \"%.40s\": write a region, for example eu-west-1",
                    o->aws_region ? o->aws_region : "");
    if (strlen(o->worker_id) > 100 || o->worker_id[strspn(o->worker_id, topic_letters)])
        return fail(reterr, "worker_id: write 1 to 100 letters, digits and . _ -");
    size_t len = strlen(o->aws_session_name);
    if (len < 2 || len > SESSION_NAME_MAX || !identity_user_valid(o->aws_session_name))
        return fail(reterr, "aws_session_name: write 2 to 64 letters, digits and _+=,.@-");
    return 0;
}

static int check_redis_url(const char *url, char **reterr)
{
    if (!url) return 0;
    const char *rest = strstr(url, "://");
    size_t scheme = rest ? (size_t)(rest - url) : 0;
    bool known = (scheme == 5 && strncmp(url, "redis", 5) == 0) || (scheme == 6 && strncmp(url, "rediss", 6) == 0) ||
                 (scheme == 4 && strncmp(url, "unix", 4) == 0);
    if (!known) return fail(reterr, "redis_url: write redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH");
    if (scheme == 4) return 0;
    const char *at = strchr(rest + 3, '@');
    if (at && memchr(rest + 3, ':', (size_t)(at - rest - 3)))
        return fail(reterr, "redis_url holds a password: take it out and put it into redis_password_file");
    return 0;
}

/* host:port with a port of 0..65535; an IPv6 address in brackets. */
static bool listen_fine(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || strlen(text) > 255 || strpbrk(text, " \t/")) return false;
    size_t digits = strspn(colon + 1, "0123456789");
    bool bracketed = *text == '[' && colon[-1] == ']';
    return digits >= 1 && digits <= 5 && !colon[1 + digits] && strtol(colon + 1, NULL, 10) <= 65535 &&
           (bracketed || memchr(text, ':', (size_t)(colon - text)) == NULL);
}

static int check_addresses(const struct options *o, char **reterr)
{
    const struct {
        const char *name, *url;
    } endpoints[] = {{"aws_endpoint", o->aws_endpoint},
                     {"aws_endpoint_iam", o->aws_endpoint_iam},
                     {"aws_endpoint_sts", o->aws_endpoint_sts},
                     {"aws_endpoint_s3", o->aws_endpoint_s3}};
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if (endpoints[i].url && !url_valid(endpoints[i].url))
            return fail(reterr, "%s: write an address like https://iam.example.com", endpoints[i].name);
    if (o->listen && !listen_fine(o->listen))
        return fail(reterr, "listen = \"%.60s\": write HOST:PORT, for example 127.0.0.1:9464, or off", o->listen);
    return check_redis_url(o->redis_url, reterr);
}

bool options_notify_url_valid(const char *url)
{
    return url_valid(url) && (strncmp(url, "https://", 8) == 0 || url_is_loopback(url));
}

static int check_notices(const struct options *o, char **reterr)
{
    if (o->notify_command.n && o->notify_command.items[0][0] != '/')
        return fail(reterr,
                    "notify_command: begin with the whole path of the program, for example /usr/local/bin/page");
    if (o->notify_url && o->notify_url_file) return fail(reterr, "notify_url and notify_url_file: set one of them");
    if (o->notify_url && !options_notify_url_valid(o->notify_url))
        return fail(reterr, "notify_url: write an https:// address (http:// is for loopback)");
    return 0;
}

static int check_lease(const struct options *o, char **reterr)
{
    if (o->mutate_timeout_ms + LEASE_MARGIN_MS >= o->lease_ttl_ms)
        return fail(reterr, "mutate_timeout and 2s must fit into lease_ttl: raise lease_ttl or lower mutate_timeout");
    if (2 * o->lease_renew_ms > o->lease_ttl_ms)
        return fail(reterr, "lease_renew may be at most half of lease_ttl: raise lease_ttl or lower lease_renew");
    if (o->lease_max_age_ms < o->lease_ttl_ms)
        return fail(reterr, "lease_max_age must be at least lease_ttl: raise lease_max_age");
    /* Both begin anew under the next lease: one that is given back before their end would be so for ever. */
    if (o->settle_successes * o->settle_interval_ms > o->lease_max_age_ms)
        return fail(reterr, "settle_successes times settle_interval is longer than lease_max_age, so that no rotation "
                            "could finish: raise lease_max_age, or lower settle_successes or settle_interval");
    if (o->retire_watch_ms > o->lease_max_age_ms)
        return fail(reterr, "retire_watch is longer than lease_max_age, so that no old key could be retired: raise "
                            "lease_max_age or lower retire_watch");
    if (3 * o->heartbeat_ms > o->session_timeout_ms)
        return fail(reterr,
                    "heartbeat may be at most a third of session_timeout: raise session_timeout or lower heartbeat");
    if (o->max_age_jitter_ms >= o->max_age_ms)
        return fail(reterr, "max_age_jitter must be shorter than max_age: lower max_age_jitter or raise max_age");
    return 0;
}

static int check_retries(const struct options *o, char **reterr)
{
    int64_t last = 0;
    for (size_t i = 0; i < o->retry_delays.n; i++) {
        if (o->retry_delay_ms[i] <= last)
            return fail(reterr, "retry_delays: \"%.30s\": write rising durations, for example 30s,5m",
                        o->retry_delays.items[i]);
        last = o->retry_delay_ms[i];
    }
    return 0;
}

/* Properties of librdkafka that what we promise rests on. */
static int check_kafka(const struct options *o, char **reterr)
{
    static const struct {
        const char *name, *instead;
    } ours[] = {
        {"bootstrap.servers", "set brokers"},
        {"metadata.broker.list", "set brokers"},
        {"group.id", "set group"},
        {"session.timeout.ms", "set session_timeout"},
        {"heartbeat.interval.ms", "set heartbeat"},
        {"enable.auto.commit", "remove it, commits are ours"},
        {"enable.auto.offset.store", "remove it, commits are ours"},
        {"auto.offset.reset", "remove it, a new group begins with the oldest message"},
        {"partition.assignment.strategy", "remove it, it is cooperative-sticky"},
        {"group.protocol", "remove it, it is classic"},
        {"enable.idempotence", "remove it, it is on"},
        {"acks", "remove it, it is all"},
        {"request.required.acks", "remove it, it is all"},
    };
    for (size_t i = 0; i < o->n_kafka; i++)
        for (size_t k = 0; k < ARRAY_LEN(ours); k++)
            if (strcmp(o->kafka[i].name, ours[k].name) == 0)
                return fail(reterr, "kafka.%s cannot be changed: %s", ours[k].name, ours[k].instead);
    return 0;
}

/* ---- short waits ---- */

/* The first wait below the design's (section 2, R4, R7), with the shortest that is allowed everywhere. */
static const char *short_wait(const struct options *o, int64_t *ret_least_ms)
{
    const struct {
        const char *name;
        int64_t ms, least_ms;
    } waits[] = {{"overlap", o->overlap_ms, 24 * 3600000LL},
                 {"quarantine", o->quarantine_ms, 24 * 3600000LL},
                 {"skew_limit", o->skew_limit_ms, 15 * 60000LL},
                 {"create_doubt", o->create_doubt_ms, 5 * 60000LL},
                 {"newcomer_wait", o->newcomer_wait_ms, 3600000LL}};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        *ret_least_ms = waits[i].least_ms;
        if (waits[i].ms < waits[i].least_ms) return waits[i].name;
    }
    return NULL;
}

const char *options_short_wait(const struct options *o)
{
    int64_t least;
    return short_wait(o, &least);
}

/* The first AWS service that is not called on loopback, NULL: all are. */
static const char *remote_service(const struct options *o)
{
    static const char *const services[] = {"iam", "sts", "s3"};
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        const char *url = options_endpoint(o, services[i]);
        if (!url || !url_is_loopback(url)) return services[i];
    }
    return NULL;
}

bool options_waits_allowed(const struct options *o, const char *url)
{
    if (!options_short_wait(o)) return true;
    return !remote_service(o) && (!url || url_is_loopback(url));
}

static int check_waits(const struct options *o, char **reterr)
{
    int64_t least_ms;
    const char *wait = short_wait(o, &least_ms), *service = remote_service(o);
    if (!wait || !service) return 0;
    char least[SETTINGS_DURATION_MAX];
    settings_format_duration(least_ms, least);
    return fail(reterr,
                "%s is shorter than %s, which is allowed only where every address is loopback, and %s is not: raise %s",
                wait, least, service, wait);
}

int options_check(const struct options *o, char **reterr)
{
    static int (*const checks[])(const struct options *, char **) = {
        check_fleet, check_words, check_addresses, check_notices, check_lease, check_retries, check_kafka, check_waits};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        int rc = checks[i](o, reterr);
        if (rc < 0) return rc;
    }
    return 0;
}

int options_require(const struct options *o, unsigned what, char **reterr)
{
    if ((what & OPTIONS_NEED_KAFKA) && !o->brokers)
        return fail(reterr,
                    "brokers is not set: name the Kafka servers in the settings file, KEYROLL_BROKERS or --brokers");
    if ((what & OPTIONS_NEED_REDIS) && !o->redis_url)
        return fail(
            reterr,
            "redis_url is not set: name the Redis server in the settings file, KEYROLL_REDIS_URL or --redis-url");
    if ((what & OPTIONS_NEED_ESCROW) && o->escrow_key_file.n == 0)
        return fail(reterr, "escrow_key_file is not set: make one (head -c 32 /dev/urandom, mode 0600) and name it");
    if ((what & OPTIONS_NEED_INVENTORY) && !o->inventory && o->inventory_discover.n == 0)
        return fail(reterr, "no inventory: set inventory (a file) or inventory_discover (accounts)");
    return 0;
}

/* ---- look-ups ---- */

const char *options_endpoint(const struct options *o, const char *service)
{
    const char *own = strcmp(service, "iam") == 0   ? o->aws_endpoint_iam
                      : strcmp(service, "sts") == 0 ? o->aws_endpoint_sts
                                                    : o->aws_endpoint_s3;
    return own ? own : o->aws_endpoint;
}

bool options_s3_path_style(const struct options *o)
{
    if (o->s3_path_style != OPTIONS_PATH_STYLE_AUTO) return o->s3_path_style == OPTIONS_PATH_STYLE_TRUE;
    return options_endpoint(o, "s3") != NULL;
}

int options_redis_password(const struct options *o, struct secret **ret_password, char **reterr)
{
    *ret_password = NULL;
    if (o->redis_password) return (*ret_password = secret_copy(o->redis_password)) ? 0 : ERR_NOMEM;
    if (!o->redis_password_file) return 0;
    AUTO_BUF struct buf text;
    buf_init_secret(&text, PASSWORD_MAX);
    int rc = secret_file_read(o->redis_password_file, &text, NULL);
    if (rc == ERR_NOMEM) return rc;
    if (rc < 0) {
        (void)fail(reterr, "redis_password_file: cannot read %s: %s", o->redis_password_file,
                   rc == ERR_TOO_LARGE ? err_text(rc) : strerror(errno));
        return ERR_IO;
    }
    size_t n = text.len;
    while (n > 0 && strchr("\r\n", text.data[n - 1])) n--;
    if (n > 0) *ret_password = secret_new(text.data, n);
    return n > 0 && !*ret_password ? ERR_NOMEM : 0;
}

/* ---- texts ---- */

static const char *const program_names[] = {"scheduler", "worker", "commands", NULL};

void options_write_help(unsigned programs, struct buf *out)
{
    (void)buf_adds(
        out, "Settings, in rising order: NAME = VALUE in the settings file, KEYROLL_NAME in the environment, flags.\n");
    settings_write_help(options_table, options_table_len, programs, out);
}

void options_write_sample(struct buf *out)
{
    (void)buf_adds(out,
                   "# Settings of keyroll and keyroll-worker: NAME = VALUE, one per line; # begins a line of comment.\n"
                   "# Every setting stands here with its default; remove the # to change it. The environment\n"
                   "# (KEYROLL_NAME) wins over this file, flags (--name=VALUE) over both. See keyroll.conf(5).\n");
    settings_write_sample(options_table, options_table_len, program_names, out);
}

void options_write_man(struct buf *out)
{
    (void)buf_adds(out, ".TH KEYROLL.CONF 5 \"\" \"keyroll " KEYROLL_VERSION "\" \"keyroll\"\n"
                        ".SH NAME\nkeyroll.conf \\- settings of keyroll and keyroll\\-worker\n"
                        ".SH DESCRIPTION\n"
                        "Settings are read, in rising order, from a file\n(lines\n.IR NAME \" = \" VALUE ;\n"
                        "lines that begin with # are comments), from the environment\n(\\fBKEYROLL_\\fP\\fINAME\\fP in "
                        "capitals) and from flags\n"
                        "(\\fB\\-\\-\\fP\\fIname\\fP\\fB=\\fP\\fIvalue\\fP, with \\- in place of _).\n"
                        "Durations are a number and one of ms, s, m, h, d; sizes a number and one of KiB, MiB, GiB;\n"
                        "items of a list are separated by commas.\n"
                        "A wrong setting ends the program with one line on standard error and exit status 2.\n"
                        ".SH SETTINGS\n");
    settings_write_man(options_table, options_table_len, program_names, out);
    (void)buf_adds(
        out, ".SH FILES\n.I /etc/keyroll/keyroll.conf\n.SH SEE ALSO\n.BR keyroll (1),\n.BR keyroll\\-worker (1)\n");
}

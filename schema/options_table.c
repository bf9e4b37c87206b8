/* The one table of settings of both programs. The rest (--help, the sample file, keyroll.conf(5), the environment's
 * names) comes from it. A row's field is named by AT(), which does not compile when field and type of the row differ.
 *
 * Defaults are the design's. Ranges are wide on purpose: what is unsafe in combination, or outside of loopback, is
 * checked in schema/options.c, where the message can say why. */
#include "schema/options.h"

#include "schema/identity.h"

#define AT(type, f)      _Generic(((struct options *)0)->f, type : offsetof(struct options, f))
#define TEXT(f)          .name = #f, .type = SETTING_STRING, .offset = AT(char *, f)
#define FILENAME(f)      .name = #f, .type = SETTING_PATH, .offset = AT(char *, f)
#define SECRET(f)        .name = #f, .type = SETTING_SECRET, .offset = AT(struct secret *, f)
#define LIST(f)          .name = #f, .type = SETTING_LIST, .offset = AT(struct settings_list, f)
#define INT(f, lo, hi)   .name = #f, .type = SETTING_INT, .offset = AT(int64_t, f), .min = (lo), .max = (hi)
#define RATE(f, lo, hi)  .name = #f, .type = SETTING_DOUBLE, .offset = AT(double, f), .min = (lo), .max = (hi)
#define WAIT(f, lo, hi)  .name = #f, .type = SETTING_DURATION, .offset = AT(int64_t, f##_ms), .min = (lo), .max = (hi)
#define CHOICE(f, words) .name = #f, .type = SETTING_ENUM, .offset = AT(int, f), .choices = (words)

#define S   1000LL
#define MIN (60 * S)
#define H   (60 * MIN)
#define D   (24 * H)

#define SCHEDULER .programs = OPTIONS_SCHEDULER
#define WORKER    .programs = OPTIONS_WORKER
#define DAEMONS   .programs = OPTIONS_SCHEDULER | OPTIONS_WORKER
#define KEYROLL   .programs = OPTIONS_SCHEDULER | OPTIONS_COMMANDS
#define ALL       .programs = OPTIONS_ALL

const struct setting options_table[] = {
    {.name = "config",
     .type = SETTING_PATH,
     .offset = AT(char *, config_path),
     .not_in_file = true,
     ALL,
     .fallback_text = "the endpoints that `keyroll up` wrote, else /etc/keyroll/keyroll.conf, whichever is there",
     .text = "The settings file. Empty: none is read."},

    {TEXT(brokers), ALL, .section = "Kafka",
     .text = "Kafka bootstrap servers, host:port separated by commas. Any other setting of the Kafka client is passed "
             "through as "
             "kafka.NAME, for example kafka.security.protocol = SASL_SSL, flag --kafka.client.rack=a, or "
             "KEYROLL_KAFKA_CLIENT_RACK "
             "in the environment; passwords among them are not taken as flags."},
    {TEXT(topic_prefix), ALL, .fallback = "keyroll",
     .text = "First part of all topic names: PREFIX.jobs, PREFIX.events and so on."},
    {TEXT(group), DAEMONS, .fallback = "keyroll-workers", .text = "Consumer group of the workers."},
    {WAIT(session_timeout, 1 * S, 30 * MIN), WORKER, .fallback = "8s",
     .text = "A worker that was silent for so long loses its partitions."},
    {WAIT(heartbeat, 100, 10 * MIN), WORKER, .fallback = "2s",
     .text = "Time between heartbeats to Kafka, at most a third of session_timeout."},
    {LIST(retry_delays), ALL, .fallback = "30s,5m", .max = OPTIONS_RETRIES_MAX,
     .text = "Delays of the retry topics, rising; each is a topic of its own, PREFIX.retry.DELAY. Run `keyroll topics "
             "apply` after a change."},
    {WAIT(retry_cap, 1 * S, 30 * D), DAEMONS, .fallback = "6h",
     .text = "Longest wait between two attempts of a job. What is longer than the longest retry topic is published "
             "again by the scheduler."},
    {INT(max_attempts, 1, 1000), DAEMONS, .fallback = "8", .unit = "attempts",
     .text = "Attempts of a job before it goes to the dead-letter topic."},

    {TEXT(redis_url), ALL, .section = "Redis",
     .text = "redis://[USER@]HOST:PORT[/DB], rediss:// for TLS, or unix:///PATH. It may not hold a password: use "
             "redis_password_file."},
    {FILENAME(redis_password_file), ALL,
     .text = "File that holds the Redis password; a line end at its end is ignored."},
    {SECRET(redis_password), ALL, .text = "The Redis password itself, where a file is no choice."},
    {TEXT(redis_prefix), ALL, .fallback = "kr:", .text = "First part of all Redis keys."},

    {FILENAME(ca_file), ALL, .section = "AWS", .env = "AWS_CA_BUNDLE",
     .text = "CA certificates (PEM) that AWS, Redis and the instances are checked against. Unset: the system's."},
    {TEXT(aws_region), ALL, .fallback = "eu-west-1", .env = "AWS_DEFAULT_REGION,AWS_REGION",
     .text = "Home region: STS is called there, and rows of the inventory without a region are in it."},
    {TEXT(aws_profile), ALL, .env = "AWS_PROFILE",
     .text = "Profile of the shared AWS configuration files that our own identity is taken from."},
    {TEXT(aws_partition), ALL, .text = "aws, aws-cn, aws-us-gov or another partition. Unset: from the region."},
    {TEXT(aws_endpoint), ALL, .env = "AWS_ENDPOINT_URL",
     .text = "Address used instead of AWS's for IAM, STS and S3, as the AWS SDKs do."},
    {TEXT(aws_endpoint_iam), ALL, .env = "AWS_ENDPOINT_URL_IAM",
     .text = "Address used for IAM; wins over aws_endpoint."},
    {TEXT(aws_endpoint_sts), ALL, .env = "AWS_ENDPOINT_URL_STS",
     .text = "Address used for STS; wins over aws_endpoint."},
    {TEXT(aws_endpoint_s3), ALL, .env = "AWS_ENDPOINT_URL_S3", .text = "Address used for S3; wins over aws_endpoint."},
    {TEXT(aws_role_template), ALL,
     .text = "Role to assume in each account, for example arn:aws:iam::{account}:role/keyroll. Unset: our own identity "
             "works in its own "
             "account only."},
    {TEXT(aws_external_id), ALL, .text = "ExternalId given when the role is assumed."},
    {TEXT(aws_session_name), ALL, .fallback_text = "keyroll-WORKER_ID",
     .text = "RoleSessionName: the name under which CloudTrail shows what we did."},
    {CHOICE(s3_path_style, "auto|true|false"), ALL, .fallback = "auto",
     .text = "Bucket name in the path instead of in the host name. auto: only where S3 has an endpoint of its own."},
    {RATE(iam_calls_per_s, 0, 10000), ALL, .fallback = "8", .unit = "calls per second",
     .text = "IAM reads per second, as many writes, and ten times as many calls of STS, that the workers together "
             "begin with "
             "in an account. They find "
             "out by themselves what AWS bears: raised while nothing is refused, halved on Throttling. For a single "
             "command it is a fixed rate. 0 is no limit."},
    {INT(iam_share, 1, 100), WORKER, .fallback = "70", .unit = "%",
     .text = "Part of the IAM calls that an account was seen to bear which the workers use: AWS's limit is shared with "
             "everything else in the account. Exposed keys and what an operator asks for may use all of it."},

    {TEXT(user_template), ALL, .section = "Fleet", .fallback = IDENTITY_TEMPLATE,
     .text =
         "Name of the IAM user of a licence, where the inventory does not give one. {licence} stands for the licence."},
    {FILENAME(inventory), KEYROLL,
     .text = "File of the licences to look after: CSV with a header row, or JSON when the name ends in .json."},
    {LIST(inventory_discover), KEYROLL, .max = 10000,
     .text = "Accounts (12 digits each, separated by commas) whose IAM users are licences too: found by discover_path, "
             "discover_prefix and "
             "discover_tag, described by their tags."},
    {TEXT(discover_path), KEYROLL, .fallback = "/", .text = "Only users under this IAM path."},
    {TEXT(discover_prefix), KEYROLL, .fallback_text = "what user_template has before {licence}",
     .text = "Only users whose name begins so."},
    {LIST(discover_tag), KEYROLL, .max = 20, .text = "Only users that carry these tags, each KEY or KEY=VALUE."},
    {FILENAME(profiles_dir), ALL,
     .text = "Directory of instance profiles (*.json), beside those that are built in: how an instance is read, "
             "written and tested."},

    {CHOICE(mode, "observe|rotate"), DAEMONS, .section = "Policy", .fallback = "observe",
     .text = "observe plans and audits only, rotate changes keys. A new installation observes until this is set."},
    {FILENAME(policy_file), KEYROLL,
     .text = "JSON file of policies: maximum age, maintenance windows, blackout dates, exclusions, canaries. `keyroll "
             "policy check` "
             "checks it, `keyroll policy diff` shows what another one would change."},
    {INT(max_rotations_per_hour, 1, 1000000000), DAEMONS, .fallback = "20", .unit = "rotations",
     .text = "New keys made per hour, by all workers together. Leaked keys are replaced all the same."},
    {INT(triggers_per_hour, 0, 1000), SCHEDULER, .fallback = "1", .unit = "rotations",
     .text = "Rotations of one licence per hour that events on topic PREFIX.triggers may ask for; 0: the topic is not "
             "read."},
    {WAIT(max_age, 1 * S, 3650 * D), SCHEDULER, .fallback = "80d", .text = "Age at which a key is due."},
    {WAIT(max_age_jitter, 0, 365 * D), SCHEDULER, .fallback = "10d",
     .text = "A licence's own part of this, the same every time, comes off max_age, so that a fleet does not come due "
             "at once."},
    {WAIT(audit_interval, 1 * S, 365 * D), SCHEDULER, .fallback = "24h",
     .text = "Every licence is audited this often."},
    {WAIT(tick, 100, 1 * H), SCHEDULER, .fallback = "30s", .text = "Time between two looks at what is due."},
    {RATE(plan_publish_rate, 0, 1000000), SCHEDULER, .fallback = "100", .unit = "jobs per second",
     .text = "Jobs published per second at most; 0 is no limit."},

    {WAIT(overlap, 1, 365 * D), DAEMONS, .section = "Waits", .fallback = "25h",
     .text = "How long the old key stays Active beside the new one. Links that the instance handed out die with the "
             "key that signed "
             "them and live for 24 hours; less is refused outside of loopback."},
    {WAIT(quarantine, 1, 3650 * D), DAEMONS, .fallback = "7d",
     .text = "How long the old key stays Inactive before it is deleted. Less than 1d is refused outside of loopback."},
    {WAIT(skew_limit, 1, 1 * D), WORKER, .fallback = "15m",
     .text = "How long AWS accepts a signed request after it was made; destructive steps wait so long after a "
             "takeover. Less than 15m is "
             "refused outside of loopback."},
    {WAIT(create_doubt, 1, 1 * D), WORKER, .fallback = "5m",
     .text = "How long lists are read, from the end of skew_limit on, before a key whose creation got no answer is "
             "believed not to exist. Less than 5m is refused outside of loopback."},
    {WAIT(newcomer_wait, 1, 30 * D), WORKER, .fallback = "1h",
     .text = "How long a key that such a creation left behind stays Inactive before it is deleted. Less than 1h is "
             "refused outside of "
             "loopback."},
    {INT(settle_successes, 1, 100), WORKER, .fallback = "3", .unit = "successes",
     .text = "A new key must be accepted so often in a row, by STS and by the bucket, before the instance gets it."},
    {WAIT(settle_interval, 0, 1 * H), WORKER, .fallback = "2s",
     .text = "Time between these probes. settle_successes times this must fit into lease_max_age."},
    {WAIT(settle_timeout, 1 * S, 1 * H), WORKER, .fallback = "120s",
     .text = "Probing gives up after this and is tried again later."},
    {WAIT(retire_watch, 0, 1 * D), WORKER, .fallback = "60s",
     .text = "How long the instance is watched after its old key went Inactive; should it fail, the key is made Active "
             "again. Must fit into lease_max_age."},
    {WAIT(assisted_poll, 100, 1 * D), DAEMONS, .fallback = "5m",
     .text = "How often an instance that waits for a person is looked at."},

    {LIST(notify_command), SCHEDULER, .section = "Notices", .max = 32,
     .text = "Program that tells a person, and its arguments, separated by commas: it gets one JSON object on its "
             "standard input for each message (what is stuck, drifted or awaits an operator, the first dead letter of "
             "a kind, campaigns that stopped). No shell, a minimal environment, 20 seconds; its output is dropped, "
             "another exit "
             "status than 0 is tried again."},
    {TEXT(notify_url), SCHEDULER,
     .text = "Address that the same object is sent to by POST; other answers than 2xx are tried again. Its member text "
             "suits the webhooks of most chats."},
    {FILENAME(notify_url_file), SCHEDULER,
     .text = "File that holds that address, where it is a password in itself, as those of chats are."},
    {WAIT(notify_interval, 100, 1 * D), SCHEDULER, .fallback = "60s",
     .text = "Time between two messages; what happens meanwhile is gathered."},

    {LIST(escrow_key_file), ALL, .section = "Worker", .max = 16,
     .text = "Files of 32 random bytes, mode 0600, that secrets in flight are sealed with. The first seals; all are "
             "tried for unsealing. "
             "All workers need the same ones."},
    {WAIT(lease_ttl, 500, 10 * MIN), WORKER, .fallback = "15s",
     .text = "Life of the lease on a user when it is not renewed. mutate_timeout and 2s must fit into it."},
    {WAIT(lease_renew, 50, 5 * MIN), WORKER, .fallback = "5s",
     .text = "Time between renewals, at most half of lease_ttl."},
    {WAIT(lease_max_age, 1 * S, 1 * D), WORKER, .fallback = "30m",
     .text = "A lease is given back after this however busy it is, so the proof of a new key (settle_successes, "
             "settle_interval) and retire_watch must fit into it. After a change of the Redis server no lease is taken "
             "for so long."},
    {WAIT(mutate_timeout, 100, 5 * MIN), WORKER, .fallback = "10s",
     .text = "Longest call that changes something at AWS or in an instance."},
    {WAIT(read_timeout, 100, 10 * MIN), ALL, .fallback = "30s", .text = "Longest call that only reads."},
    {INT(max_in_flight, 1, 100000), WORKER, .fallback = "1000", .unit = "jobs",
     .text = "Jobs that one worker carries out at once; fewer where the memory limit of its container allows no more."},
    {INT(max_calls_per_host, 1, 10000), WORKER, .fallback = "64", .unit = "calls",
     .text = "Calls that all workers together have under way at one host of instances at once, since many may share "
             "one: each has an equal part, and at least one. To one instance there is never more than one."},
    {INT(urgent_share, 1, 90), WORKER, .fallback = "20", .unit = "%",
     .text = "Part of max_in_flight that is kept free for urgent jobs."},

    {TEXT(listen), DAEMONS, .section = "Process", .fallback = "127.0.0.1:0",
     .text = "HOST:PORT for /healthz, /readyz and /metrics of the daemons, [::1]:9464 for IPv6; port 0 takes a free "
             "one and logs it; off "
             "listens nowhere."},
    {CHOICE(log_level, "error|warn|info|debug"), ALL, .fallback = "info",
     .text = "What is logged: this and what is worse."},
    {TEXT(worker_id), ALL, .fallback_text = "HOST-PID", .text = "Name of this process in leases, events and logs."},
    {FILENAME(state_dir), ALL, .fallback_text = "$XDG_STATE_HOME/keyroll or ~/.local/state/keyroll",
     .text = "Where `keyroll up` keeps its Redis data, escrow key and endpoints."},
    {WAIT(drain_timeout, 1 * S, 1 * H), DAEMONS, .fallback = "45s",
     .text = "After SIGTERM running steps may go on for so long to reach a point where another worker can continue."},
};
const size_t options_table_len = ARRAY_LEN(options_table);

/* The command line. Everything that may change at run time comes from the table in settings.c. */
#include "tests/sandbox/options.h"

#include "tests/sandbox/world.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS_PER_ACCOUNT 4990 /* AWS: 5,000 users an account; a few are ours */

enum id {
    O_HELP = 1000,
    O_LISTEN,
    O_TLS_LISTEN,
    O_TLS_CERT,
    O_TLS_KEY,
    O_ANY,
    O_LICENCES,
    O_PREFIX,
    O_ACCOUNTS,
    O_SEED,
    O_MIX,
    O_AGE,
    O_REGION,
    O_ROLE,
    O_EXTERNAL,
    O_WEB,
    O_PATH,
    O_ZONE,
    O_PRESIGN,
    O_POLICY,
    O_ENDPOINTS,
    O_INVENTORY,
    O_PARENT
};

static const struct {
    const char *name;
    enum id id;
    const char *argument;
    const char *text;
} rows[] = {
    {"help", O_HELP, NULL, "this text"},
    {"listen", O_LISTEN, "ADDR:PORT", "plain HTTP [127.0.0.1:0]; none to switch it off"},
    {"tls-listen", O_TLS_LISTEN, "ADDR:PORT", "HTTPS as well"},
    {"tls-cert", O_TLS_CERT, "FILE", "certificate chain, PEM"},
    {"tls-key", O_TLS_KEY, "FILE", "private key, PEM"},
    {"any-loopback", O_ANY, NULL, "listen on all of 127.0.0.0/8 and ::1, refuse every other peer"},
    {"licences", O_LICENCES, "N", "instances to begin with [10]"},
    {"licence-prefix", O_PREFIX, "TEXT", "of licence names [L]"},
    {"accounts", O_ACCOUNTS, "N", "AWS accounts the users are spread over [as needed]"},
    {"seed", O_SEED, "N", "of everything random [1]"},
    {"mix", O_MIX, "TEXT|FILE", "odd starts: kind=n,kind=n,... (see README.md)"},
    {"key-age-days", O_AGE, "N", "age of the first keys [100]"},
    {"region", O_REGION, "NAME", "of instances and buckets [eu-west-1]"},
    {"role-name", O_ROLE, "NAME", "role in every account [keyroll-rotator]"},
    {"external-id", O_EXTERNAL, "TEXT", "asked for by AssumeRole"},
    {"web-token-file", O_WEB, "FILE", "the token AssumeRoleWithWebIdentity accepts"},
    {"user-path", O_PATH, "PATH", "of instance users [/synergist/]"},
    {"time-zone", O_ZONE, "NAME", "of instances [Europe/London]"},
    {"presign-style", O_PRESIGN, "path|virtual", "of the instances' presigned URLs [path]"},
    {"policy", O_POLICY, "FILE", "IAM policy of the rotator and the role [all of IAM]"},
    {"endpoints-file", O_ENDPOINTS, "FILE", "where to write addresses and operator keys (mode 0600)"},
    {"write-inventory", O_INVENTORY, "DIR", "where to write inventory.csv and credentials"},
    {"die-with-parent", O_PARENT, NULL, "stop when the parent process dies"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void help(void)
{
    (void)printf("Usage: keyroll-sandbox [OPTION]...\n"
                 "Simulates AWS IAM, STS and S3 and a fleet of Synergist instances on this machine.\n\n");
    for (size_t i = 0; i < ROWS; i++)
        (void)printf("  --%-16s %-12s %s\n", rows[i].name, rows[i].argument ? rows[i].argument : "", rows[i].text);
    (void)printf("\nMay also be changed at run time, POST /_control/settings:\n");
    settings_help();
}

/* "kind=n,kind=n", also separated by blanks or newlines. */
static int parse_mix(struct options *o, const char *text)
{
    char copy[2048], *save = NULL;
    FILE *f = strchr(text, '=') ? NULL : fopen(text, "r");
    size_t n = 0;
    if (f) {
        n = fread(copy, 1, sizeof(copy) - 1, f);
        (void)fclose(f);
        copy[n] = 0;
    } else {
        (void)snprintf(copy, sizeof(copy), "%s", text);
    }
    for (char *p = strtok_r(copy, ", \t\r\n", &save); p; p = strtok_r(NULL, ", \t\r\n", &save)) {
        char *eq = strchr(p, '=');
        if (!eq || o->n_mix == MIX_MAX) return -1;
        *eq = 0;
        if (!world_kind_known(p)) return -1;
        struct mix_part *part = &o->mix[o->n_mix++];
        (void)snprintf(part->kind, sizeof(part->kind), "%s", p);
        part->n = strtoul(eq + 1, NULL, 10);
    }
    return 0;
}

static int take(struct options *o, enum id id, const char *value)
{
    switch (id) {
    case O_LISTEN:
        o->server.listen = strcmp(value, "none") == 0 ? NULL : value;
        break;
    case O_TLS_LISTEN:
        o->server.tls_listen = value;
        break;
    case O_TLS_CERT:
        o->server.tls_cert = value;
        break;
    case O_TLS_KEY:
        o->server.tls_key = value;
        break;
    case O_ANY:
        o->server.any_loopback = true;
        break;
    case O_LICENCES:
        o->licences = strtoul(value, NULL, 10);
        break;
    case O_PREFIX:
        o->licence_prefix = value;
        break;
    case O_ACCOUNTS:
        o->accounts = strtoul(value, NULL, 10);
        break;
    case O_SEED:
        o->seed = strtoull(value, NULL, 10);
        break;
    case O_MIX:
        return parse_mix(o, value);
    case O_AGE:
        o->key_age_days = atoi(value);
        break;
    case O_REGION:
        o->region = value;
        break;
    case O_ROLE:
        o->role_name = value;
        break;
    case O_EXTERNAL:
        o->external_id = value;
        break;
    case O_WEB:
        o->web_token_file = value;
        break;
    case O_PATH:
        o->user_path = value;
        break;
    case O_ZONE:
        o->time_zone = value;
        break;
    case O_PRESIGN:
        o->presign_style = value;
        break;
    case O_POLICY:
        o->policy_file = value;
        break;
    case O_ENDPOINTS:
        o->endpoints_file = value;
        break;
    case O_INVENTORY:
        o->inventory_dir = value;
        break;
    case O_PARENT:
        o->server.die_with_parent = true;
        break;
    default:
        return -1;
    }
    return 0;
}

static int bad(const char *what, const char *which)
{
    (void)fprintf(stderr, "keyroll-sandbox: %s%s (--help shows the options)\n", what, which);
    return 2;
}

static int check(struct options *o)
{
    size_t needed = (o->licences + USERS_PER_ACCOUNT - 1) / USERS_PER_ACCOUNT, odd = 0;
    for (size_t i = 0; i < o->n_mix; i++) odd += o->mix[i].n;
    if (odd > o->licences) return bad("the mix names more licences than there are", "");
    if (!o->accounts) o->accounts = needed ? needed : 1;
    if (o->accounts < needed) return bad("too few accounts: AWS allows 5,000 users in each", "");
    if (o->accounts > 99999) return bad("too many accounts", "");
    if (!o->server.listen && !o->server.tls_listen) return bad("nothing to listen on", "");
    if (o->server.tls_listen && (!o->server.tls_cert || !o->server.tls_key))
        return bad("--tls-listen needs --tls-cert and --tls-key", "");
    if (!o->use_interval_given && o->licences > 5000) o->set.use_interval_ms = (int64_t)o->licences / 5;
    return -1;
}

int options_read(struct options *o, int argc, char **argv)
{
    struct option longs[ROWS + 1] = {{0}};
    *o = (struct options){.server.listen = "127.0.0.1:0",
                          .licences = 10,
                          .seed = 1,
                          .key_age_days = 100,
                          .licence_prefix = "L",
                          .region = "eu-west-1",
                          .role_name = "keyroll-rotator",
                          .user_path = "/synergist/",
                          .time_zone = "Europe/London",
                          .presign_style = "path"};
    settings_default(&o->set);
    for (size_t i = 0; i < ROWS; i++)
        longs[i] = (struct option){rows[i].name, rows[i].argument ? required_argument : no_argument, NULL, rows[i].id};
    for (int i = 1; i < argc; i++) { /* settings first: getopt_long would not know them */
        const char *name = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "";
        char key[64];
        size_t len = strcspn(name, "=");
        (void)snprintf(key, sizeof(key), "%.*s", (int)(len < 60 ? len : 60), name);
        const char *value = name[len] ? name + len + 1 : i + 1 < argc ? argv[i + 1] : "";
        if (!settings_known(key)) continue;
        if (settings_set(&o->set, key, value) < 0) return bad("bad value for --", key);
        if (strcmp(key, "use-interval-ms") == 0) o->use_interval_given = true;
        int eaten = name[len] ? 1 : 2;
        for (int to = i; to + eaten <= argc; to++)
            argv[to] = argv[to + eaten]; /* argv ends with NULL, which moves along */
        argc -= eaten;
        i--;
    }
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == O_HELP) {
            help();
            return 0;
        }
        if (c == '?' || take(o, (enum id)c, optarg) < 0) return c == '?' ? 2 : bad("bad value: ", optarg);
    }
    return optind < argc ? bad("unexpected argument: ", argv[optind]) : check(o);
}

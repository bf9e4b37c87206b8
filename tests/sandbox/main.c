/* keyroll-sandbox: AWS IAM, STS and S3 and a fleet of Synergist instances, simulated in one process.
 *
 * Start order: options, world, ports, files for others, the line "ready" on stdout, then serving. Shares no code
 * with the programs it stands against, so that an error in their signer or parser cannot hide in its mirror. */
#include "tests/sandbox/books.h"
#include "tests/sandbox/faults.h"
#include "tests/sandbox/hash.h"
#include "tests/sandbox/inventory.h"
#include "tests/sandbox/options.h"
#include "tests/sandbox/policy.h"
#include "tests/sandbox/server.h"
#include "tests/sandbox/world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char web_token[20001];

static int load_files(struct world *w, const struct options *o)
{
    char reason[256];
    if (o->policy_file && !(w->policy = policy_load(o->policy_file, reason, sizeof(reason)))) {
        (void)fprintf(stderr, "keyroll-sandbox: policy %s\n", reason);
        return -1;
    }
    if (!o->web_token_file) return 0;
    FILE *f = fopen(o->web_token_file, "r");
    size_t n = f ? fread(web_token, 1, sizeof(web_token) - 1, f) : 0;
    if (f) (void)fclose(f);
    while (n && (web_token[n - 1] == '\n' || web_token[n - 1] == '\r')) web_token[--n] = 0;
    w->web_token = web_token;
    if (n) return 0;
    (void)fprintf(stderr, "keyroll-sandbox: no token in %s\n", o->web_token_file);
    return -1;
}

static void fill_world(struct world *w, const struct options *o)
{
    w->set = o->set;
    w->rng.state = o->seed;
    w->region = o->region;
    w->role_name = o->role_name;
    w->external_id = o->external_id;
    w->user_path = o->user_path;
    w->time_zone = o->time_zone;
    w->licence_prefix = o->licence_prefix;
    w->presign_style = o->presign_style;
    world_init(w, o->accounts);
    struct licence_start start = {.key_age_ms = (int64_t)o->key_age_days * 86400000};
    size_t made = 0;
    for (size_t i = 0; i < o->n_mix; i++) {
        start.kind = o->mix[i].kind;
        for (size_t n = 0; n < o->mix[i].n; n++, made++) (void)world_add_licence(w, &start);
    }
    start.kind = NULL;
    for (; made < o->licences; made++) (void)world_add_licence(w, &start);
}

static int write_files(struct world *w, const struct options *o)
{
    if (o->inventory_dir && inventory_write(w, o->inventory_dir) < 0) {
        (void)fprintf(stderr, "keyroll-sandbox: %s: %s\n", o->inventory_dir, strerror(errno));
        return -1;
    }
    if (o->endpoints_file && inventory_endpoints(w, o->endpoints_file) < 0) {
        (void)fprintf(stderr, "keyroll-sandbox: %s: %s\n", o->endpoints_file, strerror(errno));
        return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct options o;
    static struct world w;
    int rc = options_read(&o, argc, argv);
    if (rc >= 0) return rc;
    pid_t parent = getppid();
    if (o.server.die_with_parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)) return 1;
    hash_init();
    fill_world(&w, &o);
    rc = load_files(&w, &o);
    if (rc == 0) rc = server_open(&w, &o.server);
    if (rc == 0) rc = write_files(&w, &o);
    if (rc < 0) return 1;
    (void)printf("ready");
    if (w.port) (void)printf(" http://127.0.0.1:%d", w.port);
    if (w.tls_port) (void)printf(" https://127.0.0.1:%d", w.tls_port);
    (void)printf("\n");
    (void)fflush(stdout);
    server_run();
    faults_clear();
    books_done();
    world_done(&w);
    hash_done();
    return 0;
}

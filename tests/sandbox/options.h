/* The command line. */
#ifndef SANDBOX_OPTIONS_H
#define SANDBOX_OPTIONS_H

#include "tests/sandbox/server.h"
#include "tests/sandbox/settings.h"

#include <stddef.h>
#include <stdint.h>

#define MIX_MAX 24

struct mix_part {
    char kind[24];
    size_t n;
};

struct options {
    struct server_options server;
    struct settings set;
    size_t licences;
    size_t accounts; /* 0 = as many as the licences need */
    uint64_t seed;
    int key_age_days;
    bool use_interval_given;
    const char *licence_prefix;
    const char *region;
    const char *role_name;
    const char *external_id;
    const char *web_token_file;
    const char *user_path;
    const char *time_zone;
    const char *presign_style;
    const char *policy_file;
    const char *endpoints_file;
    const char *inventory_dir;
    struct mix_part mix[MIX_MAX];
    size_t n_mix;
};

/* Reads argv. Returns -1 to go on, else the exit code: 0 after --help, 2 after a line on stderr. */
int options_read(struct options *o, int argc, char **argv);

#endif

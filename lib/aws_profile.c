/* The shared files' INI dialect, as far as identity goes: sections "[name]" in the credentials file, "[profile name]"
 * and
 * "[default]" in the config file, "key = value" lines, "#" and ";" comments at a line's start and " #" after a value;
 * indented lines continue a setting with sub-settings, which we do not use. File contents are wiped after use.
 * Limits: 1 MiB a file; a later setting of one file replaces an earlier one of the same section. */
#include "lib/aws_profile.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/secret_file.h"
#include "lib/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FILE_MAX ((size_t)1 << 20)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Narrows [*text, *text + *len) to what is between the blanks. */
static void trim(const char **text, size_t *len)
{
    while (*len && is_blank(**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len && is_blank((*text)[*len - 1])) (*len)--;
}

int aws_secret_file(const char *path, size_t max, struct secret **ret)
{
    AUTO_BUF struct buf b;
    buf_init_secret(&b, max + 64);
    int rc = secret_file_read(path, &b, NULL);
    if (rc < 0) return rc;
    const char *text = buf_str(&b);
    size_t len = b.len;
    trim(&text, &len);
    if (len == 0) return ERR_INVALID;
    if (len > max) return ERR_TOO_LARGE;
    *ret = secret_new(text, len);
    return *ret ? 0 : ERR_NOMEM;
}

bool aws_profile_has_keys(const struct aws_profile *p)
{
    return p->access_key_id && p->secret;
}

void aws_profile_done(struct aws_profile *p)
{
    free(p->access_key_id);
    secret_free(p->secret);
    secret_free(p->token);
    free(p->role_arn);
    free(p->source_profile);
    free(p->credential_source);
    free(p->external_id);
    free(p->role_session_name);
    free(p->web_identity_token_file);
    free(p->mfa_serial);
    free(p->credential_process);
    free(p->sso);
    *p = (struct aws_profile){0};
}

static int set_text(char **at, const char *value, size_t len)
{
    char *copy = strndup(value, len);
    if (!copy) return ERR_NOMEM;
    free(*at);
    *at = copy;
    return 0;
}

static int set_secret(struct secret **at, const char *value, size_t len)
{
    struct secret *copy = secret_new(value, len);
    if (!copy) return ERR_NOMEM;
    secret_free(*at);
    *at = copy;
    return 0;
}

static bool is(const char *name, size_t len, const char *want)
{
    return strlen(want) == len && strncasecmp(name, want, len) == 0;
}

static int set(struct aws_profile *p, const char *name, size_t n, const char *value, size_t len)
{
    const struct {
        const char *name;
        char **at;
    } texts[] = {
        {"aws_access_key_id", &p->access_key_id},
        {"role_arn", &p->role_arn},
        {"source_profile", &p->source_profile},
        {"credential_source", &p->credential_source},
        {"external_id", &p->external_id},
        {"role_session_name", &p->role_session_name},
        {"web_identity_token_file", &p->web_identity_token_file},
        {"mfa_serial", &p->mfa_serial},
        {"credential_process", &p->credential_process},
        {"sso_session", &p->sso},
        {"sso_start_url", &p->sso},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (is(name, n, texts[i].name)) return set_text(texts[i].at, value, len);
    if (is(name, n, "aws_secret_access_key")) return set_secret(&p->secret, value, len);
    if (is(name, n, "aws_session_token")) return set_secret(&p->token, value, len);
    if (is(name, n, "duration_seconds")) p->duration_s = len && len < 8 ? (int)strtol(value, NULL, 10) : 0;
    return 0;
}

/* Is this section header ours? line: between the brackets. */
static bool is_section(const char *line, size_t len, const char *profile, bool config)
{
    if (config && len > 8 && strncmp(line, "profile", 7) == 0 && is_blank(line[7])) {
        line += 8;
        len -= 8;
    } else if (config && !(len == 7 && strncmp(line, "default", 7) == 0)) {
        return false; /* [sso-session x], [services x] and the like */
    }
    trim(&line, &len);
    if (len >= 2 && (*line == '"' || *line == '\'') && line[len - 1] == *line) {
        line++;
        len -= 2;
    }
    return strlen(profile) == len && memcmp(line, profile, len) == 0;
}

static int read_setting(struct aws_profile *p, const char *line, size_t len)
{
    const char *equals = memchr(line, '=', len);
    if (!equals) return ERR_SYNTAX;
    const char *name = line, *value = equals + 1;
    size_t n = (size_t)(equals - line), m = len - n - 1;
    for (size_t i = 1; i < m; i++)
        if ((value[i] == '#' || value[i] == ';') && is_blank(value[i - 1])) m = i;
    trim(&name, &n);
    trim(&value, &m);
    return m ? set(p, name, n, value, m) : 0;
}

static int parse(const char *text, const char *profile, bool config, struct aws_profile *p)
{
    bool ours = false;
    while (*text) {
        size_t whole = strcspn(text, "\n"), len = whole;
        const char *line = text;
        bool indented = is_blank(*line);
        text += whole + (text[whole] == '\n');
        trim(&line, &len);
        if (len == 0 || *line == '#' || *line == ';') continue;
        if (*line == '[') {
            const char *end = memchr(line, ']', len);
            if (!end) return ERR_SYNTAX;
            ours = is_section(line + 1, (size_t)(end - line) - 1, profile, config);
            p->found |= ours;
        } else if (ours && !indented) {
            int rc = read_setting(p, line, len);
            if (rc < 0) return rc;
        }
    }
    return 0;
}

static int load(const char *path, const char *profile, bool config, struct aws_profile *p)
{
    AUTO_BUF struct buf b;
    buf_init_secret(&b, FILE_MAX);
    int rc = secret_file_read(path, &b, NULL);
    if (rc == ERR_NOT_FOUND) return 0;
    return rc ? rc : parse(buf_str(&b), profile, config, p);
}

static void path_of(const char *env, const char *file, char out[1024])
{
    const char *home = getenv("HOME"), *named = getenv(env);
    home = home ? home : "";
    if (!named || !*named)
        (void)snprintf(out, 1024, "%s/.aws/%s", home, file);
    else if (strncmp(named, "~/", 2) == 0)
        (void)snprintf(out, 1024, "%s/%s", home, named + 2);
    else
        text_copy(out, 1024, named);
}

static void prefer(char **at, char **other)
{
    if (!*at) *at = TAKE(*other);
}

/* What the credentials file left open comes from the config file; a static pair is never mixed of two files. */
static void merge(struct aws_profile *p, struct aws_profile *config)
{
    p->found |= config->found;
    if (!p->access_key_id && !p->secret) {
        p->in_config = aws_profile_has_keys(config);
        p->access_key_id = TAKE(config->access_key_id);
        p->secret = TAKE(config->secret);
        p->token = TAKE(config->token);
    }
    prefer(&p->role_arn, &config->role_arn);
    prefer(&p->source_profile, &config->source_profile);
    prefer(&p->credential_source, &config->credential_source);
    prefer(&p->external_id, &config->external_id);
    prefer(&p->role_session_name, &config->role_session_name);
    prefer(&p->web_identity_token_file, &config->web_identity_token_file);
    prefer(&p->mfa_serial, &config->mfa_serial);
    prefer(&p->credential_process, &config->credential_process);
    prefer(&p->sso, &config->sso);
    if (!p->duration_s) p->duration_s = config->duration_s;
}

int aws_profile_load(const char *name, struct aws_profile *ret)
{
    char path[1024];
    CLEANUP(aws_profile_done) struct aws_profile p = {0};
    CLEANUP(aws_profile_done) struct aws_profile config = {0};
    path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials", path);
    int rc = load(path, name, false, &p);
    path_of("AWS_CONFIG_FILE", "config", path);
    if (!rc) rc = load(path, name, true, &config);
    if (!rc) {
        merge(&p, &config);
        *ret = p;
        p = (struct aws_profile){0};
    }
    return rc;
}

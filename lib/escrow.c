/* Escrow of secrets (escrow.h). Envelope: "kr1." key id "." base64(nonce, ciphertext, tag). The version prefix is part
 * of the associated data, together with user (lower case, since IAM names are unique without regard to case) and key
 * id. */
#include "lib/escrow.h"

#include "lib/err.h"
#include "lib/secret_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KEY_BYTES   32
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define ID_HEX      16
#define KEYS_MAX    8
#define PREFIX      "kr1."
#define BODY_MAX    (NONCE_BYTES + 512 + TAG_BYTES)

struct escrow {
    size_t n;
    struct master {
        struct secret *key;
        char id[ID_HEX + 1];
    } keys[KEYS_MAX];
};

static int set_reason(char **ret_reason, const char *path, const char *why)
{
    if (asprintf(ret_reason, "escrow_key_file %s: %s", path, why) < 0) *ret_reason = NULL;
    return 0;
}

/* Key id: first 8 bytes of SHA-256 over a label and the key; tells nothing about it. */
static int make_id(const unsigned char key[KEY_BYTES], char out[ID_HEX + 1])
{
    static const char label[] = "keyroll escrow key id";
    unsigned char text[sizeof(label) + KEY_BYTES], digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    memcpy(text, label, sizeof(label));
    memcpy(text + sizeof(label), key, KEY_BYTES);
    int ok = EVP_Digest(text, sizeof(text), digest, &len, EVP_sha256(), NULL);
    secret_wipe(text, sizeof(text));
    if (!ok) return ERR_INTERNAL;
    for (size_t i = 0; i < ID_HEX / 2; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

/* Ours alone. A file of somebody else that is readable by our group is fine, too: so Kubernetes hands a Secret to an
 * unprivileged process (owner root, fsGroup, mode 0440), and no mode 0600 could be read by it. */
static bool mode_is_fine(const struct stat *st)
{
    mode_t others = st->st_mode & (S_IRWXG | S_IRWXO);
    return others == 0 || (others == S_IRGRP && st->st_uid != geteuid());
}

static int load_bytes(const char *path, struct buf *key, char **ret_reason)
{
    struct stat st = {0};
    int rc = secret_file_read(path, key, &st);
    if (rc == ERR_NOMEM) return rc;
    if (st.st_mode == 0) { /* it could not be opened */
        set_reason(ret_reason, path, strerror(errno));
        return rc == ERR_NOT_FOUND ? rc : ERR_PERMISSION;
    }
    if (!S_ISREG(st.st_mode)) {
        set_reason(ret_reason, path, "not a regular file");
        return ERR_INVALID;
    }
    if (!mode_is_fine(&st)) {
        set_reason(ret_reason, path, "may be read by others; run: chmod 600 on it");
        return ERR_PERMISSION;
    }
    if (rc == 0 && key->len == KEY_BYTES) return 0;
    set_reason(ret_reason, path, "must hold exactly 32 bytes; make one with: head -c 32 /dev/urandom");
    return ERR_INVALID;
}

static int load_one(struct escrow *e, const char *path, char **ret_reason)
{
    AUTO_BUF struct buf key;
    buf_init_secret(&key, KEY_BYTES);
    if (e->n == KEYS_MAX) {
        set_reason(ret_reason, path, "more than 8 master keys");
        return ERR_TOO_LARGE;
    }
    int rc = load_bytes(path, &key, ret_reason);
    struct master *m = &e->keys[e->n];
    if (!rc) rc = make_id((const unsigned char *)buf_str(&key), m->id);
    if (!rc) {
        m->key = secret_new(buf_str(&key), KEY_BYTES);
        if (!m->key) rc = ERR_NOMEM;
    }
    if (!rc) e->n++;
    return rc;
}

int escrow_load(const char *files, struct escrow **ret_escrow, char **ret_reason)
{
    *ret_reason = NULL;
    struct escrow *e = calloc(1, sizeof(*e));
    AUTO_FREE char *list = strdup(files);
    int rc = e && list ? 0 : ERR_NOMEM;
    char *save = NULL;
    for (char *p = list ? strtok_r(list, ",", &save) : NULL; p && !rc; p = strtok_r(NULL, ",", &save)) {
        while (*p == ' ') p++;
        rc = load_one(e, p, ret_reason);
    }
    if (!rc && e->n == 0) {
        set_reason(ret_reason, "", "names no file");
        rc = ERR_NOT_FOUND;
    }
    if (rc < 0) {
        escrow_free(e);
        return rc;
    }
    *ret_escrow = e;
    return 0;
}

int escrow_make_file(const struct rng *rng, const char *path)
{
    unsigned char key[KEY_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno == EEXIST ? 0 : ERR_IO;
    rng->fill(rng->self, key, sizeof(key));
    int rc = write(fd, key, sizeof(key)) == sizeof(key) && fsync(fd) == 0 ? 0 : ERR_IO;
    secret_wipe(key, sizeof(key));
    if (close(fd) < 0) rc = ERR_IO;
    return rc;
}

void escrow_free(struct escrow *e)
{
    if (!e) return;
    for (size_t i = 0; i < e->n; i++) secret_free(e->keys[i].key);
    free(e);
}

const char *escrow_key_id(const struct escrow *e, size_t i)
{
    return i < e->n ? e->keys[i].id : NULL;
}

static int associated(struct buf *b, const char *user, const char *key_id)
{
    buf_init(b, 512);
    buf_adds(b, PREFIX);
    for (const char *p = user; *p; p++) buf_addc(b, (char)tolower((unsigned char)*p));
    buf_addc(b, '\0');
    return buf_adds(b, key_id);
}

/* in/out: ciphertext or plaintext of len bytes; tag is written (seal) or checked (open). ERR_SEAL_BROKEN: the tag is
 * wrong. Before that nothing but memory can be missing, which says nothing about the envelope. */
static int gcm(int seal, const struct secret *key, const unsigned char *nonce, const struct buf *ad,
               const unsigned char *in, size_t len, unsigned char *out, unsigned char *tag)
{
    int n = 0, rc = ERR_NOMEM;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!c) return rc;
    if (EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, (const unsigned char *)secret_bytes(key), nonce, seal) &&
        EVP_CipherUpdate(c, NULL, &n, (const unsigned char *)ad->data, (int)ad->len) &&
        EVP_CipherUpdate(c, out, &n, in, (int)len) &&
        (seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag)))
        rc = EVP_CipherFinal_ex(c, out + n, &n) > 0 ? 0 : ERR_SEAL_BROKEN;
    if (!rc && seal && !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag)) rc = ERR_INTERNAL;
    EVP_CIPHER_CTX_free(c);
    return rc;
}

int escrow_seal(const struct escrow *e, const struct rng *rng, const char *user, const char *key_id,
                const struct secret *secret, struct buf *out)
{
    unsigned char body[BODY_MAX];
    size_t len = secret_len(secret);
    AUTO_BUF struct buf ad;
    if (len > BODY_MAX - NONCE_BYTES - TAG_BYTES) return ERR_TOO_LARGE;
    int rc = associated(&ad, user, key_id);
    if (rc < 0) return rc;
    rng->fill(rng->self, body, NONCE_BYTES);
    rc = gcm(1, e->keys[0].key, body, &ad, (const unsigned char *)secret_bytes(secret), len, body + NONCE_BYTES,
             body + NONCE_BYTES + len);
    if (rc < 0) return rc;
    buf_adds(out, PREFIX);
    buf_adds(out, e->keys[0].id);
    buf_addc(out, '.');
    return buf_add_base64(out, body, NONCE_BYTES + len + TAG_BYTES);
}

void escrow_sealed_by(const char *envelope, size_t len, char out[ID_HEX + 1])
{
    size_t p = strlen(PREFIX);
    out[0] = '\0';
    if (len < p + ID_HEX + 1 || memcmp(envelope, PREFIX, p) || envelope[p + ID_HEX] != '.') return;
    for (size_t i = 0; i < ID_HEX; i++)
        if (!isxdigit((unsigned char)envelope[p + i])) return;
    memcpy(out, envelope + p, ID_HEX);
    out[ID_HEX] = '\0';
}

static const struct master *named(const struct escrow *e, const char *envelope, size_t len)
{
    size_t p = strlen(PREFIX);
    if (len < p + ID_HEX + 1 || memcmp(envelope, PREFIX, p) || envelope[p + ID_HEX] != '.') return NULL;
    for (size_t i = 0; i < e->n; i++)
        if (!memcmp(e->keys[i].id, envelope + p, ID_HEX)) return &e->keys[i];
    return NULL;
}

int escrow_open(const struct escrow *e, const char *user, const char *key_id, const char *envelope, size_t len,
                struct secret **ret_secret)
{
    unsigned char body[BODY_MAX], plain[BODY_MAX];
    size_t head = strlen(PREFIX) + ID_HEX + 1;
    if (len < head || memcmp(envelope, PREFIX, strlen(PREFIX))) return ERR_SEAL_BROKEN;
    const struct master *m = named(e, envelope, len);
    if (!m) return ERR_SEAL_KEY;
    long n = base64_decode(envelope + head, len - head, body, sizeof(body));
    if (n < NONCE_BYTES + TAG_BYTES) return ERR_SEAL_BROKEN;
    size_t text = (size_t)n - NONCE_BYTES - TAG_BYTES;
    AUTO_BUF struct buf ad;
    int rc = associated(&ad, user, key_id);
    if (rc < 0) return rc;
    rc = gcm(0, m->key, body, &ad, body + NONCE_BYTES, text, plain, body + NONCE_BYTES + text);
    struct secret *s = rc ? NULL : secret_new(plain, text);
    secret_wipe(plain, sizeof(plain)); /* with a wrong tag it is there, too */
    if (rc < 0) return rc;
    if (!s) return ERR_NOMEM;
    *ret_secret = s;
    return 0;
}

bool escrow_is_fresh(const struct escrow *e, const char *envelope, size_t len)
{
    return named(e, envelope, len) == &e->keys[0];
}

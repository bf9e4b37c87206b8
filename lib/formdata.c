/* Form bodies by hand: the instance wants parameters as form data, and what is sent holds a password and a new secret,
 * so it is built in one buffer that is wiped, by one pass and without a library's copies. Limits: no files, no content
 * types of parts (text is UTF-8), names are plain words. */
#include "lib/formdata.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define FIRST_BYTES ((size_t)1000) /* a login, a pair and their frames: growing would copy and wipe four times */

void formdata_init(struct formdata *f, bool multipart, const struct rng *rng, size_t max)
{
    *f = (struct formdata){.multipart = multipart};
    buf_init_secret(&f->body, max);
    (void)buf_reserve(&f->body, max < FIRST_BYTES ? max : FIRST_BYTES); /* no memory: the first append says so */
    if (!multipart) {
        (void)snprintf(f->content_type, sizeof(f->content_type), "Content-Type: application/x-www-form-urlencoded");
        return;
    }
    char hex[33];
    rng_hex(rng, 16, hex);
    (void)snprintf(f->boundary, sizeof(f->boundary), "keyroll-%s", hex);
    (void)snprintf(f->content_type, sizeof(f->content_type), "Content-Type: multipart/form-data; boundary=%s",
                   f->boundary);
}

void formdata_done(struct formdata *f)
{
    buf_done(&f->body);
}

void formdata_add(struct formdata *f, const char *name, const void *value, size_t len)
{
    struct buf *b = &f->body;
    assert(*name && !strpbrk(name, "\"\r\n&=%\\"));
    if (!f->multipart) {
        if (b->len) (void)buf_addc(b, '&'); /* errors of all of these stick in b */
        (void)buf_adds(b, name);
        (void)buf_addc(b, '=');
        (void)buf_add_percent(b, value, len);
        return;
    }
    (void)buf_adds(b, "--");
    (void)buf_adds(b, f->boundary);
    (void)buf_adds(b, "\r\nContent-Disposition: form-data; name=\"");
    (void)buf_adds(b, name);
    (void)buf_adds(b, "\"\r\n\r\n");
    (void)buf_add(b, value, len);
    (void)buf_adds(b, "\r\n");
}

void formdata_adds(struct formdata *f, const char *name, const char *value)
{
    formdata_add(f, name, value, strlen(value));
}

int formdata_end(struct formdata *f)
{
    if (f->multipart) {
        (void)buf_adds(&f->body, "--");
        (void)buf_adds(&f->body, f->boundary);
        (void)buf_adds(&f->body, "--\r\n");
    }
    return f->body.error;
}

void formdata_json_string(struct buf *b, const char *s, size_t len)
{
    (void)buf_addc(b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') (void)buf_addc(b, '\\');
        if (c < 0x20)
            (void)buf_addf(b, "\\u%04x", c);
        else
            (void)buf_addc(b, (char)c);
    }
    (void)buf_addc(b, '"');
}

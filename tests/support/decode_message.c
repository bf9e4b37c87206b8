/* Runs our decoders for tests in other languages. Reads "KIND LENGTH\n" and LENGTH bytes, again and again, from stdin;
 * writes one line for each: "ok JSON" (what our encoder makes of what was decoded) or "err NAME FAULT". */
#include "lib/err.h"
#include "schema/campaign.h"
#include "schema/deadletter.h"
#include "schema/event.h"
#include "schema/job.h"

#include <stdio.h>
#include <string.h>

#define INPUT_MAX 100000

static int job_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct job j;
    int rc = job_decode(bytes, len, &j, fault);
    return rc < 0 ? rc : job_encode(&j, out);
}

static int event_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct event e;
    int rc = event_decode(bytes, len, &e, fault);
    return rc < 0 ? rc : event_encode(&e, out);
}

static int deadletter_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct deadletter d;
    int rc = deadletter_decode(bytes, len, &d, fault);
    return rc < 0 ? rc : deadletter_encode(&d, out);
}

static int campaign_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct campaign c;
    int rc = campaign_decode(bytes, len, &c, fault);
    if (rc == 0) rc = campaign_encode(&c, out);
    campaign_done(&c);
    return rc;
}

static const struct {
    const char *name;
    int (*trip)(const char *, size_t, struct buf *, struct message_fault *);
} kinds[] = {{"job", job_trip}, {"event", event_trip}, {"deadletter", deadletter_trip}, {"campaign", campaign_trip}};

static int trip(const char *kind, const char *bytes, size_t len)
{
    AUTO_BUF struct buf out;
    struct message_fault fault = {""};
    buf_init(&out, INPUT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kind, kinds[i].name) != 0) continue;
        int rc = kinds[i].trip(bytes, len, &out, &fault);
        if (rc < 0)
            printf("err %s %s\n", err_name(rc), fault.text);
        else
            printf("ok %s\n", buf_str(&out));
        return 0;
    }
    fprintf(stderr, "decode_message: no kind %s\n", kind);
    return 1;
}

int main(void)
{
    char kind[32], *bytes;
    size_t len;
    while (scanf("%31s %zu", kind, &len) == 2) {
        if (getchar() != '\n' || len > INPUT_MAX || !(bytes = malloc(len + 1))) return 1;
        size_t got = fread(bytes, 1, len, stdin);
        bytes[got] = '\0';
        int rc = got == len ? trip(kind, bytes, len) : 1;
        free(bytes);
        if (rc) return rc;
    }
    return 0;
}

/* json_read() on large texts, whole and broken off at their end; job_decode() and jansson alone on a job: CPU of each,
 * as NAME VALUE. A text that breaks off has its whole tree freed within the reading, which must not cost more than the
 * reading (lib/json.c). */
#include "lib/json.h"
#include "schema/job.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEMBERS 100000
#define JOBS    5000
#define ROUNDS  9 /* the least counts: what others do on the machine only ever adds */

static const char job[] =
    "{\"version\":\"keyroll.job/1\",\"job_id\":\"b664397e3d63868442aa841d0c1e6c66\",\"kind\":\"rotate\","
    "\"reason\":\"operator\",\"licence\":\"L1\",\"account\":\"123456789012\",\"user\":\"SynergistExpress-L1\","
    "\"bucket\":\"bucket-1\",\"region\":\"eu-west-1\",\"instance_url\":\"https://l1.example/\","
    "\"profile\":\"default\",\"credentials\":\"file:/etc/keyroll/logins.csv#L1\","
    "\"replace_key_id\":\"AKIAIOSFODNN7EXAMPLE\",\"rotation\":1763888888123,\"urgent\":true,"
    "\"created_at_ms\":1763888888123,\"requested_by\":\"jo\"}";

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double read_s(const char *text, size_t len, bool whole)
{
    json_t *root = NULL;
    double before = cpu_s();
    int rc = json_read(text, len, 0, &root, NULL);
    if ((rc == 0) != whole) exit(1);
    if (rc == 0) json_decref(root);
    return cpu_s() - before;
}

static double decode_s(void)
{
    double before = cpu_s();
    for (int i = 0; i < JOBS; i++) {
        struct job j;
        if (job_decode(job, sizeof job - 1, &j, NULL) != 0) exit(1);
    }
    return cpu_s() - before;
}

static double jansson_s(void)
{
    double before = cpu_s();
    for (int i = 0; i < JOBS; i++) {
        json_t *root = json_loadb(job, sizeof job - 1, JSON_REJECT_DUPLICATES, NULL);
        if (!root) exit(1);
        json_decref(root);
    }
    return cpu_s() - before;
}

static void compare_decoding(void)
{
    double decode = decode_s(), jansson = jansson_s();
    for (int i = 1; i < ROUNDS; i++) {
        double d = decode_s(), j = jansson_s();
        if (d < decode) decode = d;
        if (j < jansson) jansson = j;
    }
    printf("decode_cpu_us %.2f\njansson_cpu_us %.2f\n", decode / JOBS * 1e6, jansson / JOBS * 1e6);
}

int main(void)
{
    size_t len = 0;
    char *text = malloc(MEMBERS * 16 + 16);
    if (!text) return 1;
    text[len++] = '{';
    for (int i = 0; i < MEMBERS; i++) len += (size_t)sprintf(text + len, "%s\"L%06d\":\"x\"", i ? "," : "", i);
    text[len] = '}';
    (void)read_s(text, len + 1, true); /* the heap grows */
    double whole = read_s(text, len + 1, true);
    text[len] = ']';
    printf("whole_cpu_s %.4f\nbroken_cpu_s %.4f\n", whole, read_s(text, len + 1, false));
    free(text);
    compare_decoding();
    return 0;
}

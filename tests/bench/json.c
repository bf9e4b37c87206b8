/* json_read() on large texts, whole and broken off at their end: CPU of both, as NAME VALUE. A text that breaks off has
 * its whole tree freed within the reading, which must not cost more than the reading (lib/json.c). */
#include "lib/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEMBERS 100000

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
    return 0;
}

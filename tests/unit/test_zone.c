/* Time zones against the system's tz database: what we read out of it and what the C library reads out of it are the
 * same, over all its zones. And damaged files. */
#include "lib/err.h"
#include "producer/zone.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#define ROOT "/usr/share/zoneinfo"

static char bytes[ZONE_FILE_MAX];

static size_t read_file(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, ROOT "/%s", name);
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s is not there: install tzdata", path);
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return n;
}

static struct zone *zone_of(const char *name)
{
    struct zone *z = NULL;
    size_t n = read_file(name);
    if (zone_parse(bytes, n, &z) != 0) fail_msg("%s cannot be read", name);
    return z;
}

static long libc_offset(int64_t utc_s)
{
    struct tm tm;
    time_t t = (time_t)utc_s;
    assert_non_null(localtime_r(&t, &tm));
    return tm.tm_gmtoff;
}

/* Every 9 days and some from 1900 to 2150, and a second before and at each change. */
static unsigned compare(const char *name)
{
    AUTO_ZONE struct zone *z = zone_of(name);
    unsigned looks = 0;
    setenv("TZ", name, 1);
    tzset();
    for (int64_t t = -2208988800LL; t < 5680281600LL; t += 9 * 86400 + 4321, looks++)
        if (zone_offset_s(z, t * 1000) != libc_offset(t)) fail_msg("%s at %lld", name, (long long)t);
    for (int64_t t = zone_next_change_ms(z, -2208988800000LL), n = 0; t < 5680281600000LL && n < 1000; n++, looks++) {
        int64_t s = t / 1000;
        if (zone_offset_s(z, t - 1) != libc_offset(s - 1)) fail_msg("%s before %lld", name, (long long)s);
        if (zone_offset_s(z, t) != libc_offset(s)) fail_msg("%s at change %lld", name, (long long)s);
        int64_t next = zone_next_change_ms(z, t);
        assert_true(next > t);
        t = next;
    }
    return looks;
}

static unsigned compare_folder(const char *folder, unsigned *zones)
{
    char path[600];
    unsigned looks = 0;
    snprintf(path, sizeof path, ROOT "/%s", folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        char name[600];
        struct stat st;
        snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", e->d_name);
        snprintf(path, sizeof path, ROOT "/%s", name);
        if (e->d_name[0] == '.' || strcmp(e->d_name, "right") == 0 || strcmp(e->d_name, "posix") == 0) continue;
        if (lstat(path, &st) < 0 || S_ISLNK(st.st_mode)) continue;
        if (S_ISDIR(st.st_mode)) {
            looks += compare_folder(name, zones);
            continue;
        }
        if (read_file(name) < 4 || memcmp(bytes, "TZif", 4) != 0) continue; /* lists and notes */
        looks += compare(name);
        (*zones)++;
    }
    closedir(dir);
    return looks;
}

static void all_zones_as_the_c_library_reads_them(void **state)
{
    (void)state;
    unsigned zones = 0, looks = compare_folder("", &zones);
    printf("%u zones, %u moments\n", zones, looks);
    assert_true(zones > 200);
}

static void utc_and_what_never_changes(void **state)
{
    (void)state;
    assert_int_equal(zone_offset_s(NULL, 0), 0);
    assert_true(zone_next_change_ms(NULL, 0) == INT64_MAX);
    AUTO_ZONE struct zone *z = zone_of("Etc/GMT+3");
    assert_int_equal(zone_offset_s(z, 0), -3 * 3600);
    assert_true(zone_next_change_ms(z, 0) == INT64_MAX);
}

static void damaged_files(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/London", "America/New_York", "Asia/Kathmandu", "UTC"};
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        size_t n = read_file(names[k]);
        struct zone *z = NULL;
        for (size_t cut = 0; cut < n; cut++) assert_int_equal(zone_parse(bytes, cut, &z), ERR_SYNTAX);
        for (size_t at = 0; at < n; at++) { /* any byte changed: read or refused, never a crash */
            char kept = bytes[at];
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] = (char)(kept ^ 1 << bit);
                AUTO_ZONE struct zone *odd = NULL;
                if (zone_parse(bytes, n, &odd) < 0) continue;
                (void)zone_offset_s(odd, 1800000000000LL);
                (void)zone_next_change_ms(odd, 1800000000000LL);
            }
            bytes[at] = kept;
        }
    }
    struct zone *z = NULL;
    assert_int_equal(zone_parse("", 0, &z), ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_zones_as_the_c_library_reads_them),
        cmocka_unit_test(utc_and_what_never_changes),
        cmocka_unit_test(damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

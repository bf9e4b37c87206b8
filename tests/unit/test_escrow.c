/* Escrow: an envelope opens for its own user and key only, every changed byte is noticed, master keys rotate, key files
 * that others may read are refused, and no secret stays behind. */
#include "lib/err.h"
#include "lib/escrow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define USER   "SynergistExpress-4711"
#define KEY_ID "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static char folder[64], file_a[96], file_b[96], both[200], swapped[200];

static void write_key(const char *path, const void *bytes, size_t n, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/keyroll-escrow-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(file_a, sizeof(file_a), "%s/a", folder);
    snprintf(file_b, sizeof(file_b), "%s/b", folder);
    snprintf(both, sizeof(both), "%s,%s", file_a, file_b);
    snprintf(swapped, sizeof(swapped), "%s, %s", file_b, file_a);
    if (escrow_make_file(&rng_system, file_a) < 0) return -1;
    return escrow_make_file(&rng_system, file_b);
}

static int teardown(void **state)
{
    (void)state;
    unlink(file_a);
    unlink(file_b);
    return rmdir(folder);
}

static struct escrow *load(const char *files)
{
    struct escrow *e;
    char *reason = NULL;
    assert_int_equal(escrow_load(files, &e, &reason), 0);
    assert_null(reason);
    return e;
}

static void seal(const struct escrow *e, struct buf *out)
{
    AUTO_SECRET struct secret *s = secret_from_string(SECRET);
    buf_init(out, 4096);
    assert_int_equal(escrow_seal(e, &rng_system, USER, KEY_ID, s, out), 0);
}

static int open_as(const struct escrow *e, const char *user, const char *key_id, const char *text, size_t len)
{
    AUTO_SECRET struct secret *opened = NULL;
    int rc = escrow_open(e, user, key_id, text, len, &opened);
    if (rc == 0) assert_string_equal(secret_bytes(opened), SECRET);
    return rc;
}

static void seals_and_opens(void **state)
{
    (void)state;
    struct escrow *e = load(file_a);
    AUTO_BUF struct buf one, two;
    seal(e, &one);
    seal(e, &two);
    assert_int_equal(open_as(e, USER, KEY_ID, one.data, one.len), 0);
    assert_true(one.len != two.len || memcmp(one.data, two.data, one.len)); /* another nonce */
    assert_null(strstr(one.data, SECRET));
    for (size_t i = 0; i < one.len; i++) assert_true(one.data[i] > ' ' && one.data[i] < 127);
    assert_true(escrow_is_fresh(e, one.data, one.len));
    escrow_free(e);
}

static void belongs_to_its_user_and_key(void **state)
{
    (void)state;
    struct escrow *e = load(file_a);
    AUTO_BUF struct buf env;
    seal(e, &env);
    assert_int_equal(open_as(e, "synergistexpress-4711", KEY_ID, env.data, env.len), 0); /* IAM names have no case */
    assert_int_equal(open_as(e, "SynergistExpress-4712", KEY_ID, env.data, env.len), ERR_SEAL_BROKEN);
    assert_int_equal(open_as(e, USER, "AKIAIOSFODNN7EXAMPLF", env.data, env.len), ERR_SEAL_BROKEN);
    assert_int_equal(open_as(e, USER KEY_ID, "", env.data, env.len), ERR_SEAL_BROKEN); /* no shift between the two */
    escrow_free(e);
}

static void every_changed_byte_is_noticed(void **state)
{
    (void)state;
    struct escrow *e = load(file_a);
    AUTO_BUF struct buf env;
    seal(e, &env);
    for (size_t i = 0; i < env.len; i++) {
        char keep = env.data[i];
        env.data[i] = keep == 'A' ? 'B' : 'A';
        int rc = open_as(e, USER, KEY_ID, env.data, env.len);
        assert_true(rc == ERR_SEAL_BROKEN || rc == ERR_SEAL_KEY);
        env.data[i] = keep;
    }
    for (size_t n = 0; n < env.len; n++) {
        int rc = open_as(e, USER, KEY_ID, env.data, n);
        assert_true(rc == ERR_SEAL_BROKEN || rc == ERR_SEAL_KEY);
    }
    buf_adds(&env, "AAAA");
    assert_int_equal(open_as(e, USER, KEY_ID, env.data, env.len), ERR_SEAL_BROKEN);
    assert_int_equal(open_as(e, USER, KEY_ID, "", 0), ERR_SEAL_BROKEN);
    escrow_free(e);
}

static void master_keys_rotate(void **state)
{
    (void)state;
    struct escrow *a = load(file_a), *b = load(file_b), *new_first = load(swapped), *old_first = load(both);
    AUTO_BUF struct buf env;
    seal(a, &env);
    assert_int_equal(open_as(b, USER, KEY_ID, env.data, env.len), ERR_SEAL_KEY);
    assert_int_equal(open_as(new_first, USER, KEY_ID, env.data, env.len), 0);
    assert_false(escrow_is_fresh(new_first, env.data, env.len)); /* resume seals it again */
    assert_true(escrow_is_fresh(old_first, env.data, env.len));
    assert_string_equal(escrow_key_id(new_first, 1), escrow_key_id(a, 0));
    assert_string_equal(escrow_key_id(new_first, 0), escrow_key_id(b, 0));
    assert_null(escrow_key_id(a, 1));
    AUTO_BUF struct buf again;
    seal(new_first, &again);
    assert_int_equal(open_as(b, USER, KEY_ID, again.data, again.len), 0);
    escrow_free(a);
    escrow_free(b);
    escrow_free(new_first);
    escrow_free(old_first);
}

static int try_load(const char *files, const char *word)
{
    struct escrow *e = NULL;
    AUTO_FREE char *reason = NULL;
    int rc = escrow_load(files, &e, &reason);
    if (rc == 0) escrow_free(e);
    if (word) {
        assert_non_null(reason);
        assert_non_null(strstr(reason, word));
    }
    return rc;
}

static void bad_key_files_are_refused(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof(path), "%s/bad", folder);
    assert_int_equal(try_load(path, "bad"), ERR_NOT_FOUND);
    write_key(path, SECRET, 31, 0600);
    assert_int_equal(try_load(path, "32 bytes"), ERR_INVALID);
    write_key(path, SECRET, 33, 0600);
    assert_int_equal(try_load(path, "32 bytes"), ERR_INVALID);
    write_key(path, SECRET, 32, 0640);
    assert_int_equal(try_load(path, "chmod"), ERR_PERMISSION);
    if (geteuid() == 0) { /* only root can make a file of somebody else, as Kubernetes does */
        assert_int_equal(chown(path, 65532, 0), 0);
        assert_int_equal(try_load(path, NULL), 0);
        assert_int_equal(chmod(path, 0660), 0);
        assert_int_equal(try_load(path, "chmod"), ERR_PERMISSION);
        assert_int_equal(chmod(path, 0444), 0);
        assert_int_equal(try_load(path, "chmod"), ERR_PERMISSION);
        assert_int_equal(unlink(path), 0);
    }
    write_key(path, SECRET, 32, 0604);
    assert_int_equal(try_load(path, NULL), ERR_PERMISSION);
    assert_int_equal(try_load(folder, NULL), ERR_INVALID);
    assert_int_equal(try_load("", NULL), ERR_NOT_FOUND);
    write_key(path, SECRET, 32, 0400);
    assert_int_equal(try_load(path, NULL), 0);
    unlink(path);
}

static void make_leaves_an_existing_file(void **state)
{
    (void)state;
    struct escrow *before = load(file_a);
    assert_int_equal(escrow_make_file(&rng_system, file_a), 0);
    struct escrow *after = load(file_a);
    assert_string_equal(escrow_key_id(before, 0), escrow_key_id(after, 0));
    escrow_free(before);
    escrow_free(after);
}

static void no_secret_is_left(void **state)
{
    (void)state;
    assert_int_equal(secret_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seals_and_opens),
        cmocka_unit_test(belongs_to_its_user_and_key),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(master_keys_rotate),
        cmocka_unit_test(bad_key_files_are_refused),
        cmocka_unit_test(make_leaves_an_existing_file),
        cmocka_unit_test(no_secret_is_left),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

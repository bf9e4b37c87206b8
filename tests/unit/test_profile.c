/* Profiles: the shipped ones are what deploy/profiles holds and say what they should; a folder of right and wrong files
 * (the same that the JSON Schema is tried on); what a schema cannot say; overriding by a folder. */
#include "lib/profile.h"

#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/profile_data.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h needs some of the above */
#include <cmocka.h>

static size_t read_whole(const char *path, char *out, size_t max)
{
    FILE *f = fopen(path, "rb");
    if (!f) print_error("cannot open %s\n", path);
    assert_non_null(f);
    size_t n = fread(out, 1, max - 1, f);
    fclose(f);
    out[n] = '\0';
    return n;
}

static struct profiles *shipped(void)
{
    struct profiles *p = NULL;
    char *reason = NULL;
    int rc = profiles_load(NULL, &p, &reason);
    if (rc) print_error("%s\n", reason ? reason : "");
    free(reason);
    assert_int_equal(rc, 0);
    return p;
}

static void shipped_are_the_samples(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_LEN(profile_data), 3);
    for (size_t i = 0; i < ARRAY_LEN(profile_data); i++) {
        char path[512], text[16384];
        (void)snprintf(path, sizeof(path), "%s/../../deploy/profiles/%s.json", TEST_DATA, profile_data[i].name);
        assert_int_equal(read_whole(path, text, sizeof(text)), profile_data[i].len);
        assert_memory_equal(text, profile_data[i].text, profile_data[i].len);
    }
}

static void shipped_say_what_they_should(void **state)
{
    (void)state;
    struct profiles *set = shipped();
    assert_string_equal(profiles_name(set, 0), "assisted");
    assert_string_equal(profiles_name(set, 2), "no-readback");
    assert_null(profiles_name(set, 3));
    assert_null(profiles_find(set, "nosuch"));
    assert_null(profiles_find(set, NULL));
    const struct profile *p = profiles_find(set, "default");
    assert_string_equal(p->version, "4");
    assert_int_equal(p->encoding, PROFILE_MULTIPART);
    assert_null(p->company);
    assert_string_equal(p->write.area, "system");
    assert_string_equal(p->write.action, "update");
    assert_string_equal(p->write.key_id_field, "systemparameters_iamaccesskey");
    assert_string_equal(p->write.secret_field, "systemparameters_iamsecretkey");
    assert_null(p->write.id_field);
    assert_string_equal(p->read_back.action, "");
    assert_string_equal(p->read_back.style, "modeldata");
    assert_string_equal(p->read_back.model, "systemdetails");
    assert_string_equal(p->presigned.area, "attachments");
    assert_string_equal(p->presigned.fields[0], "attachmentS3UrlGet");
    assert_int_equal(p->test_by, PROFILE_TEST_CALL);
    assert_string_equal(p->test.action, "testaws");
    struct instance_abilities a;
    profile_abilities(p, &a);
    assert_true(a.can_write && a.can_read && a.can_test);
    assert_true(a.write_life_ms > a.write_timeout_ms && a.write_timeout_ms <= 10000);
    profile_abilities(profiles_find(set, "no-readback"), &a);
    assert_true(a.can_write && a.can_read && a.can_test && !profiles_find(set, "no-readback")->can_read_back);
    profile_abilities(profiles_find(set, "assisted"), &a);
    assert_true(!a.can_write && a.can_read && a.can_test);
    assert_int_equal(profiles_find(set, "assisted")->test_by, PROFILE_TEST_PRESIGNED);
    profiles_free(set);
}

static void check_folder(const char *kind, bool right)
{
    char dir[512], path[1024], text[16384];
    (void)snprintf(dir, sizeof(dir), "%s/vectors/profile/%s", TEST_DATA, kind);
    DIR *d = opendir(dir);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".json")) continue;
        struct profiles *set = shipped();
        AUTO_FREE char *reason = NULL;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        size_t len = read_whole(path, text, sizeof(text));
        int rc = profiles_add(set, text, len, e->d_name, &reason);
        if ((rc == 0) != right) print_error("%s: %s %s\n", e->d_name, err_name(rc), reason ? reason : "");
        assert_int_equal(rc == 0, right);
        if (rc) assert_true(reason && strncmp(reason, e->d_name, strlen(e->d_name)) == 0); /* names the file */
        profiles_free(set);
        n++;
    }
    closedir(d);
    assert_true(n > 5);
}

static void folders(void **state)
{
    (void)state;
    check_folder("valid", true);
    check_folder("invalid", false);
}

static void whole_sense(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"{\"name\":\"x\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"A\"}}", "the same"},
        {"{\"name\":\"x\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"b\","
         "\"identifier\":{\"field\":\"B\",\"value\":\"1\"}}}",
         "one of those that are written"},
        {"{\"name\":\"x\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"b\",\"record_version_"
         "field\":\"v\"}}",
         "needs read_back"},
        {"{\"name\":\"x\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"b\"},"
         "\"read_back\":{\"area\":\"s\",\"field\":\"b\"}}",
         "that of the secret"},
        {"{\"name\":\"x\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"b\"},\"write_life_ms\":"
         "5000}",
         "shorter"},
        {"{\"name\":\"x\",\"name\":\"y\",\"write\":\"off\",\"assisted\":true}", "duplicate"},
        {"{\"name\":\"x\",\n\"write\":", "line 2"},
        {"", "line 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct profiles *set = shipped();
        AUTO_FREE char *reason = NULL;
        int rc = profiles_add(set, cases[i].text, strlen(cases[i].text), "file.json", &reason);
        assert_true(rc == ERR_INVALID || rc == ERR_SYNTAX);
        assert_non_null(reason);
        if (!strstr(reason, cases[i].word)) print_error("%s\n", reason);
        assert_non_null(strstr(reason, cases[i].word));
        profiles_free(set);
    }
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void folder_overrides(void **state)
{
    (void)state;
    char dir[] = "/tmp/keyroll-profile-XXXXXX";
    struct profiles *set = NULL;
    AUTO_FREE char *reason = NULL;
    assert_non_null(mkdtemp(dir));
    write_text(dir, "b.json", "{\"name\":\"default\",\"write\":\"off\",\"assisted\":true}");
    write_text(dir, "a.json",
               "{\"name\":\"own\",\"write\":{\"area\":\"s\",\"key_id_field\":\"a\",\"secret_field\":\"b\"}}");
    write_text(dir, "notes.txt", "not read");
    assert_int_equal(profiles_load(dir, &set, &reason), 0);
    assert_false(profiles_find(set, "default")->can_write);
    assert_true(profiles_find(set, "own")->can_write);
    assert_non_null(profiles_find(set, "no-readback"));
    profiles_free(set);
    write_text(dir, "c.json", "{\"name\":\"own\",\"write\":\"off\",\"assisted\":true}");
    assert_int_equal(profiles_load(dir, &set, &reason), ERR_INVALID);
    assert_non_null(strstr(reason, "c.json: name: another file"));
    static const char *const names[] = {"a.json", "b.json", "c.json", "notes.txt"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
    free(TAKE(reason));
    assert_int_equal(profiles_load(dir, &set, &reason), ERR_NOT_FOUND);
    assert_non_null(reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_are_the_samples),
        cmocka_unit_test(shipped_say_what_they_should),
        cmocka_unit_test(folders),
        cmocka_unit_test(whole_sense),
        cmocka_unit_test(folder_overrides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

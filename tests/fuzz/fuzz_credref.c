/* Files of logins, and references to them. */
#include "lib/credref.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32], reference[64], reason[CREDREF_REASON_MAX];
    struct credref_login login;
    AUTO_FREE char *text = fuzz_text(data, size);
    (void)credref_check(text);
    struct credref *c = credref_new(&(struct credref_options){0});
    FUZZ_REQUIRE(c);
    int fd = fuzz_file(data, size, path);
    snprintf(reference, sizeof reference, "file:%s#acme", path);
    if (credref_get(c, reference, 1000, &login, reason) == 0) {
        FUZZ_REQUIRE(login.user[0] && login.password);
        secret_free(login.password);
    } else {
        fuzz_touch(reason);
    }
    if (size < 4000 && setenv("FUZZ_LOGIN", text, 1) == 0 && credref_get(c, "env:FUZZ_LOGIN", 1, &login, reason) == 0)
        secret_free(login.password);
    credref_free(c);
    close(fd);
    return 0;
}

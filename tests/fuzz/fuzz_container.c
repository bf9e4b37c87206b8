/* The container endpoint's credentials, its address, the instance's role, and trace headers: a set of credentials is
 * whole or there is none; no address is allowed that libcurl would take for another host; a role is one word of a path;
 * a trace goes on in form or begins anew. */
#include "lib/aws_container.h"
#include "lib/aws_creds.h"
#include "lib/aws_imds.h"
#include "lib/trace.h"
#include "tests/fuzz/fuzz.h"

static void address(const char *text)
{
    if (!aws_container_url_allowed(text) || strncmp(text, "http://", 7) != 0) return;
    const char *host = text + 7;
    size_t authority = strcspn(host, "/?#\\");
    FUZZ_REQUIRE(authority > 0 && !memchr(host, '@', authority));
}

static void role(const char *text, size_t size)
{
    char name[AWS_IMDS_ROLE_MAX];
    if (aws_imds_role(text, size, name) < 0) return;
    FUZZ_REQUIRE(name[0] && strlen(name) < sizeof(name) && !strpbrk(name, "/?#%\\ \r\n"));
}

static void trace(const char *text)
{
    char child[TRACE_PARENT_MAX], id[TRACE_ID_MAX], header[TRACE_HEADER_MAX];
    trace_child(&rng_system, text, child);
    FUZZ_REQUIRE(strlen(child) == TRACE_PARENT_MAX - 1 && strncmp(child, "00-", 3) == 0);
    trace_id(text, id);
    FUZZ_REQUIRE(id[0] == '\0' || (strlen(id) == TRACE_ID_MAX - 1 && strncmp(child + 3, id, TRACE_ID_MAX - 1) == 0));
    if (trace_header(text, header)) FUZZ_REQUIRE(strpbrk(header, "\r\n") == NULL && id[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = fuzz_text(data, size);
    struct aws_identity *i = NULL;
    if (aws_container_parse(text, size, &i) == 0) {
        FUZZ_REQUIRE(i && i->access_key_id[0] && secret_len(i->secret) && i->session_token &&
                     i->expires_ms != TIME_NONE);
        aws_identity_unref(i);
    } else {
        FUZZ_REQUIRE(!i);
    }
    FUZZ_REQUIRE(secret_count() == 0);
    address(text);
    role(text, size);
    trace(text);
    return 0;
}

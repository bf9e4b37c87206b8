/* Inventories. The first byte chooses: '[' or '{' JSON, else CSV. */
#include "lib/err.h"
#include "schema/inventory.h"
#include "schema/job.h"
#include "schema/options.h"
#include "tests/fuzz/fuzz.h"

static struct options options;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char *words[] = {(char[]){"fuzz"}, (char[]){"--config="}, NULL}, *reason = NULL;
    int n = 2;
    (void)argc;
    (void)argv;
    FUZZ_REQUIRE(options_load(&options, OPTIONS_ALL, &n, words, NULL, &reason) == 0);
    return 0;
}

static void hear(void *arg, const struct inventory_complaint *c)
{
    (void)arg;
    fuzz_touch(c->licence);
    fuzz_touch(c->reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inventory *inv = inventory_new(&options, hear, NULL);
    FUZZ_REQUIRE(inv);
    char *text = fuzz_text(data, size);
    int rc;
    if (size && (data[0] == '[' || data[0] == '{')) {
        rc = inventory_read_json(inv, text, size);
        free(text);
    } else {
        rc = inventory_read_csv(inv, text, size); /* takes it over */
    }
    if (rc == 0) {
        FUZZ_REQUIRE(inventory_seal(inv) == 0);
        for (size_t i = 0; i < inventory_count(inv); i++) {
            struct job j = {0};
            const struct inventory_row *row = inventory_row(inv, i);
            inventory_target(row, &j);
            FUZZ_REQUIRE(identity_user_valid(j.user) && identity_account_valid(j.account));
            FUZZ_REQUIRE(inventory_find(inv, row->licence) == row);
        }
        (void)inventory_compare(inv, inv, NULL, NULL);
    }
    inventory_free(inv);
    return 0;
}

/* keyroll version: own and library versions, as built and as found at run time, and combinations known to be bad. */
#include "lib/err.h"
#include "lib/kafka_out.h"
#include "producer/command.h"
#include "producer/versions.h"

#include <stdio.h>

int cmd_version(const struct options *o, int argc, char **argv)
{
    bool json = false;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}};
    if (!command_flags("version", flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail("version", EXIT_USAGE, "takes no arguments: %s", argv[0]);
    const char *bad = kafka_conf_refused(o->kafka, o->n_kafka);
    AUTO_JSON json_t *libraries = versions_json();
    if (!libraries) return command_fail("version", EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    if (json) {
        AUTO_JSON json_t *root = json_pack("{s:s, s:O, s:s}", "keyroll", KEYROLL_VERSION, "libraries", libraries,
                                           "known_bad", bad ? bad : "");
        AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
        puts(text ? text : "{}");
        return bad ? EXIT_BAD : EXIT_OK;
    }
    const char *name;
    json_t *version;
    printf("keyroll %s\n", KEYROLL_VERSION);
    json_object_foreach(libraries, name, version) printf("  %-16s %s\n", name, json_string_value(version));
    if (bad) printf("known to be bad: %s\n", bad);
    return bad ? EXIT_BAD : EXIT_OK;
}

/* keyroll schedule: the daemon (schedule.h). */
#include "producer/command.h"
#include "producer/schedule.h"

int cmd_schedule(const struct options *o, int argc, char **argv)
{
    bool once = false;
    const struct command_flag flags[] = {{.name = "--once", .is_set = &once}};
    if (!command_flags("schedule", flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail("schedule", EXIT_USAGE, "takes no arguments: %s", argv[0]);
    return schedule_run(o, once);
}

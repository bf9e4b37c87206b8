/* keyroll schedule: the daemon (schedule.h). */
#include "producer/command.h"
#include "producer/schedule.h"

int cmd_schedule(const struct options *o, int argc, char **argv)
{
    if (!command_flags("schedule", NULL, 0, &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail("schedule", EXIT_USAGE, "takes no arguments: %s", argv[0]);
    return schedule_run(o);
}

/* Licence i of the benches' fleet. */
#ifndef KEYROLL_TESTS_BENCH_FLEET_H
#define KEYROLL_TESTS_BENCH_FLEET_H

#include "schema/inventory.h"

#include <stdio.h>

/* Fills the row; its strings stand in text. No zone, no policy. */
static inline void bench_row(size_t i, size_t accounts, struct inventory_row *row, char text[6][96])
{
    snprintf(text[0], 96, "L%06zu", i);
    snprintf(text[1], 96, "%012zu", 100000000000 + i % accounts);
    snprintf(text[2], 96, "SynergistExpress-L%06zu", i);
    snprintf(text[3], 96, "synergist-l%06zu", i);
    snprintf(text[4], 96, "https://l%06zu.synergist.example/", i);
    snprintf(text[5], 96, "file:/credentials.json#L%06zu", i);
    *row = (struct inventory_row){.licence = text[0],
                                  .account = text[1],
                                  .user = text[2],
                                  .bucket = text[3],
                                  .instance_url = text[4],
                                  .credentials = text[5],
                                  .region = "eu-west-1",
                                  .profile = "default",
                                  .time_zone = "",
                                  .policy = ""};
}

#endif

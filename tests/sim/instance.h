/* One Synergist instance on the truth of truth.h. */
#ifndef KEYROLL_SIM_INSTANCE_H
#define KEYROLL_SIM_INSTANCE_H

#include "lib/instance.h"
#include "tests/sim/net.h"
#include "tests/sim/truth.h"

struct sim_instance;

struct sim_instance_options {
    struct sim_net *net;
    struct sim_truth *truth;
    struct instance_abilities can;
    const char *profile;
    /* A write begins: may it? (I2, I4) */
    void (*acts)(void *arg, struct sim_client *c, const char *what, const char *key_id);
    void *arg;
};
struct sim_instance *sim_instance_new(const struct sim_instance_options *o);
void sim_instance_free(struct sim_instance *i);
struct instance_port sim_instance_port(struct sim_instance *i, struct sim_client *c);
void sim_instance_down(struct sim_instance *i, bool down);
/* Every write is refused for certain from now on (a role that lost its right); reads go on. */
void sim_instance_refuse_writes(struct sim_instance *i, bool refuse);
/* The instance's own test says no, whatever the truth. */
void sim_instance_fail_tests(struct sim_instance *i, bool fail);

#endif

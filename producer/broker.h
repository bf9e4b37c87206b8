/* The embedded Kafka as a process of its own: librdkafka's mock cluster. For `keyroll up`. */
#ifndef KEYROLL_BROKER_H
#define KEYROLL_BROKER_H

#define BROKER_READY "ready " /* the line on standard output: this, then the bootstrap servers */

/* Runs until SIGTERM. argv: NAME=PARTITIONS of each topic. Returns the exit code: 0, or 1 with a line on stderr. */
int broker_run(int argc, char **argv);

#endif

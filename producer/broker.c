/* The embedded Kafka: one mock broker of librdkafka in a process of its own, so that its end cannot take the others
 * along and can be tried with a kill. The parent names the topics; the address, which the kernel chooses anew at each
 * start, goes to standard output. Everything it holds is gone when it ends: see lib/kafka_mock.c for its limits. */
#include "producer/broker.h"

#include "lib/err.h"
#include "lib/kafka_mock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static int complain(const char *text)
{
    fprintf(stderr, "keyroll up, broker: %s\n", text);
    return 1;
}

/* Splits NAME=PARTITIONS in place. */
static int parse_topic(char *text, struct kafka_mock_topic *ret)
{
    char *equals = strrchr(text, '='), *end = NULL;
    if (!equals || equals == text) return ERR_INVALID;
    *equals = '\0';
    *ret = (struct kafka_mock_topic){text, (int)strtol(equals + 1, &end, 10)};
    return *end || ret->partitions < 1 ? ERR_INVALID : 0;
}

int broker_run(int argc, char **argv)
{
    AUTO_FREE struct kafka_mock_topic *topics = calloc((size_t)argc + 1, sizeof *topics);
    AUTO_FREE char *why = NULL;
    struct kafka_mock *mock = NULL;
    sigset_t end;
    int signum;
    if (!topics) return complain(err_text(ERR_NOMEM));
    for (int i = 0; i < argc; i++)
        if (parse_topic(argv[i], &topics[i]) < 0) return complain("topics are named as NAME=PARTITIONS");
    (void)sigemptyset(&end);
    (void)sigaddset(&end, SIGTERM);
    (void)sigaddset(&end, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &end, NULL); /* before librdkafka's threads exist, which inherit it */
    int rc = kafka_mock_start(1, topics, (size_t)argc, &mock, &why);
    if (rc < 0) return complain(why ? why : err_text(rc));
    printf(BROKER_READY "%s\n", kafka_mock_brokers(mock));
    if (fflush(stdout) != 0) return complain("nobody reads the address");
    (void)sigwait(&end, &signum);
    kafka_mock_stop(mock);
    return 0;
}

/* Counting and printing of coverage (coverage.h). The rows that exist are taken from the real step tables, so that a
 * new row without a story that leads there is noticed. */
#include "tests/sim/coverage.h"

#include "tests/sim/world.h"
#include "worker/rotation.h"

#include <stdlib.h>
#include <string.h>

static const char *const table_names[SIM_TABLES] = {"rotate", "retire", "reap", "audit", "intake"};

/* ---- counting -----------------------------------------------------------------------------------------------------
 */

static struct sim_coverage_call *call_of(struct sim_coverage_row *r, const char *op, const char *step)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->calls[i].op, op)) return &r->calls[i];
    if (r->n == SIM_CALLS_OF_ROW) abort();
    r->calls[r->n] = (struct sim_coverage_call){.op = op, .step = step};
    return &r->calls[r->n++];
}

/* SIM_TABLES: of no row. */
static size_t table_of(const struct sim_client *by)
{
    size_t t = by->table ? 0 : SIM_TABLES;
    while (t < SIM_TABLES && strcmp(table_names[t], by->table)) t++;
    if (by->table && (t == SIM_TABLES || by->row >= SIM_ROWS_MAX)) abort();
    return t;
}

void sim_coverage_note(struct sim_coverage *v, const struct sim_call *c, enum sim_fault_kind kind)
{
    const size_t t = table_of(c->client);
    if (t == SIM_TABLES) return;
    struct sim_coverage_call *x = call_of(&v->rows[t][c->client->row], sim_lasting_name(c), c->client->step);
    x->edge = c->edge;
    x->writes = c->writes;
    x->kinds[kind]++;
}

unsigned long sim_coverage_of(const struct sim_coverage *v, const struct sim_call *c, enum sim_fault_kind kind)
{
    const struct sim_coverage_row *r = &v->rows[table_of(c->client)][c->client->row];
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->calls[i].op, c->op)) return r->calls[i].kinds[kind];
    return 0;
}

void sim_coverage_add(struct sim_coverage *to, const struct sim_coverage *from)
{
    for (size_t t = 0; t < SIM_TABLES; t++)
        for (size_t r = 0; r < SIM_ROWS_MAX; r++)
            for (size_t i = 0; i < from->rows[t][r].n; i++) {
                const struct sim_coverage_call *c = &from->rows[t][r].calls[i];
                struct sim_coverage_call *x = call_of(&to->rows[t][r], c->op, c->step);
                x->edge = c->edge;
                x->writes = c->writes;
                for (size_t k = 0; k < SIM_FAULT_KINDS; k++) x->kinds[k] += c->kinds[k];
            }
}

/* ---- printing -----------------------------------------------------------------------------------------------------
 */

static unsigned print_call(const char *table, const struct sim_coverage_call *c, unsigned long least, FILE *out)
{
    unsigned low = 0;
    fprintf(out, "%-6s %-17s %-20s", table, c->step, c->op);
    for (int k = 0; k < SIM_FAULT_KINDS; k++) {
        const bool possible = !sim_fault_why_not(c->edge, c->op, c->writes, true, (enum sim_fault_kind)k);
        const bool few = possible && c->kinds[k] < least;
        char text[24] = "-";
        if (possible || c->kinds[k]) snprintf(text, sizeof(text), "%lu%s", c->kinds[k], few ? "!" : "");
        low += few;
        fprintf(out, k ? " %5s" : " %7s", text);
    }
    fprintf(out, "\n");
    return low;
}

/* Columns by number: the names are too long. */
static void print_head(FILE *out)
{
    fprintf(out, "outcomes and crash points:");
    for (int k = 0; k < SIM_FAULT_KINDS; k++)
        fprintf(out, "%s %d %s", k ? "," : "", k, sim_fault_name((enum sim_fault_kind)k));
    fprintf(out, "\n%-6s %-17s %-20s", "table", "step", "call");
    for (int k = 0; k < SIM_FAULT_KINDS; k++) fprintf(out, k ? " %5d" : " %7d", k);
    fprintf(out, "\n");
}

/* Rows that can wait for an answer and never made a call. */
static unsigned print_unreached(const struct sim_coverage *v, FILE *out)
{
    static const struct saga_table *const tables[] = {&rotate_table, &retire_table, &reap_table, &audit_table};
    unsigned n = 0;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (size_t r = 0; r < tables[t]->n_steps; r++) {
            if (!tables[t]->steps[r].got || v->rows[t][r].n) continue;
            fprintf(out, "%-6s %-17s NEVER REACHED\n", table_names[t], tables[t]->steps[r].name);
            n++;
        }
    return n;
}

/* The reasons behind each "-". */
static void print_reasons(const struct sim_coverage *v, FILE *out)
{
    for (int k = 0; k < SIM_FAULT_KINDS; k++) {
        const char *told = NULL;
        for (size_t i = 0; i < (size_t)SIM_TABLES * SIM_ROWS_MAX; i++) {
            const struct sim_coverage_row *r = &v->rows[i / SIM_ROWS_MAX][i % SIM_ROWS_MAX];
            for (size_t n = 0; n < r->n; n++) {
                const struct sim_coverage_call *c = &r->calls[n];
                const char *why = sim_fault_why_not(c->edge, c->op, c->writes, true, (enum sim_fault_kind)k);
                if (!why || why == told) continue;
                if (!told) fprintf(out, "- at %d %s: %s\n", k, sim_fault_name((enum sim_fault_kind)k), why);
                told = why;
            }
        }
    }
}

unsigned sim_coverage_print(const struct sim_coverage *v, unsigned long least, FILE *out)
{
    unsigned low = 0, cells = 0;
    print_head(out);
    for (size_t t = 0; t < SIM_TABLES; t++)
        for (size_t r = 0; r < SIM_ROWS_MAX; r++)
            for (size_t i = 0; i < v->rows[t][r].n; i++) {
                const struct sim_coverage_call *c = &v->rows[t][r].calls[i];
                low += print_call(table_names[t], c, least, out);
                for (int k = 0; k < SIM_FAULT_KINDS; k++)
                    cells += sim_fault_possible(c->edge, c->op, c->writes, true, (enum sim_fault_kind)k);
            }
    low += print_unreached(v, out);
    print_reasons(v, out);
    fprintf(out, "coverage: %u cells of step x outcome x crash point, %u with less than %lu\n", cells, low, least);
    return low;
}

/* Credential reports and account details.
 *
 * A report is made once per account and report-life (4 h): asked for (STARTED), in the making for report-ms
 * (INPROGRESS, and 404 ReportInProgress for a get), then the same bytes until it is too old (410 ReportExpired).
 * It holds no key ids, its last_rotated moves with every change of status, and its last_used keeps the first use of
 * each quarter of an hour. Source: docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html */
#include "tests/sandbox/report.h"

#include "tests/sandbox/iam.h"
#include "tests/sandbox/reply.h"

#include <stdlib.h>
#include <string.h>

#define QUARTER_MS (15 * 60 * 1000)

static const char head[] =
    "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,password_next_rotation,"
    "mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,"
    "access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,"
    "access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,"
    "cert_1_last_rotated,cert_2_active,cert_2_last_rotated";

static const char *report_time(struct arena *a, int64_t at_ms)
{
    const char *z = reply_time(a, at_ms);
    return arena_printf(a, "%.19s+00:00", z);
}

static void key_columns(struct world *w, struct arena *a, struct buf *b, const struct key *k)
{
    if (!k) {
        buf_puts(b, ",false,N/A,N/A,N/A,N/A");
        return;
    }
    buf_printf(b, ",%s,%s", k->status == KEY_ACTIVE ? "true" : "false", report_time(a, k->changed_ms));
    if (!k->last_used_ms)
        buf_puts(b, ",N/A,N/A,N/A");
    else
        buf_printf(b, ",%s,%s,%s", report_time(a, k->last_used_ms / QUARTER_MS * QUARTER_MS),
                   k->last_used_service == SVC_IAM ? "us-east-1" : w->region, service_name(k->last_used_service));
}

static const struct key *next_key(const struct key *k)
{
    while (k && k->status == KEY_DELETED) k = k->next;
    return k;
}

static void make_report(struct world *w, struct account *a)
{
    struct buf b = {0};
    struct arena arena = {0};
    buf_puts(&b, head);
    buf_printf(&b,
               "\n<root_account>,arn:aws:iam::%s:root,2020-01-01T00:00:00+00:00,not_supported,no_information,"
               "not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A",
               a->id);
    for (size_t i = 0; i < a->n_users; i++) {
        const struct user *u = a->users[i];
        const struct key *first = next_key(u->keys), *second = first ? next_key(first->next) : NULL;
        buf_printf(&b, "\n%s,%s,%s,false,N/A,N/A,N/A,false", u->name, user_arn(&arena, u),
                   report_time(&arena, u->created_ms));
        key_columns(w, &arena, &b, first);
        key_columns(w, &arena, &b, second);
        buf_puts(&b, ",false,N/A,false,N/A");
    }
    arena_done(&arena);
    free(a->report.csv);
    a->report.csv = b.data;
    a->report.len = b.len;
}

/* Brings the account's report up to the present moment. Returns "" (none), STARTED, INPROGRESS, COMPLETE, EXPIRED. */
static const char *report_state(struct world *w, struct account *a, int64_t now_ms)
{
    struct report *p = &a->report;
    if (!p->started_ms) return "";
    if (now_ms < p->ready_at_ms) return "INPROGRESS";
    if (!p->csv) make_report(w, a);
    return now_ms < p->ready_at_ms + w->set.report_life_ms ? "COMPLETE" : "EXPIRED";
}

void report_generate(struct world *w, struct request *r)
{
    struct report *p = &r->account->report;
    const char *state = report_state(w, r->account, r->now_ms);
    if (!*state || strcmp(state, "EXPIRED") == 0) {
        free(p->csv);
        *p = (struct report){.started_ms = r->now_ms, .ready_at_ms = r->now_ms + w->set.report_ms};
        state = "STARTED";
    }
    reply_begin(r, true);
    buf_puts(&r->reply.body, "    ");
    buf_element(&r->reply.body, "State", state);
    if (strcmp(state, "STARTED") == 0)
        buf_element(&r->reply.body, "Description", "No report exists. Starting a new report generation task");
    reply_end(w, r, true);
}

void report_get(struct world *w, struct request *r)
{
    const char *state = report_state(w, r->account, r->now_ms);
    if (!*state) {
        reply_error(w, r, 410, "ReportNotPresent", "No report found. Generate a new one.");
    } else if (strcmp(state, "INPROGRESS") == 0) {
        reply_error(w, r, 404, "ReportInProgress", "Report generation is in progress");
    } else if (strcmp(state, "EXPIRED") == 0) {
        reply_error(w, r, 410, "ReportExpired", "The most recent credential report has expired.");
    } else {
        reply_begin(r, true);
        buf_puts(&r->reply.body, "    <Content>");
        buf_base64(&r->reply.body, r->account->report.csv, r->account->report.len);
        buf_puts(&r->reply.body, "</Content>\n    ");
        buf_element(&r->reply.body, "GeneratedTime", reply_time(&r->arena, r->account->report.ready_at_ms));
        buf_element(&r->reply.body, "ReportFormat", "text/csv");
        buf_putc(&r->reply.body, '\n');
        reply_end(w, r, true);
    }
}

static bool wants_users(const struct request *r)
{
    bool any = false;
    for (size_t i = 0; i < r->params.n; i++) {
        if (strncmp(r->params.v[i].name, "Filter.member.", 14) != 0) continue;
        any = true;
        if (strcmp(r->params.v[i].value, "User") == 0) return true;
    }
    return !any;
}

void report_details(struct world *w, struct request *r)
{
    const struct account *a = r->account;
    struct page page;
    if (!iam_page(w, r, wants_users(r) ? a->n_users : 0, &page)) return;
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    <UserDetailList>\n");
    for (size_t i = page.from; i < page.to; i++) {
        const struct user *u = a->users[i];
        struct tag tags[USER_TAGS_MAX];
        int n = user_tags(&r->arena, w, u, tags);
        buf_puts(b, "      <member>");
        buf_element(b, "Path", u->path);
        buf_element(b, "UserName", u->name);
        buf_element(b, "UserId", u->id);
        buf_element(b, "Arn", user_arn(&r->arena, u));
        buf_element(b, "CreateDate", reply_time(&r->arena, u->created_ms));
        buf_puts(b, "<GroupList/><AttachedManagedPolicies/><Tags>");
        for (int t = 0; t < n; t++) {
            buf_puts(b, "<member>");
            buf_element(b, "Key", tags[t].key);
            buf_element(b, "Value", tags[t].value);
            buf_puts(b, "</member>");
        }
        buf_puts(b, "</Tags></member>\n");
    }
    buf_puts(b, "    </UserDetailList>\n    <GroupDetailList/><RoleDetailList/><Policies/>\n");
    iam_page_end(r, &page);
    reply_end(w, r, true);
}

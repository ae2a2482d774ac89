-- Who may do what with a ledger on PostgreSQL. Run it as the tables' owner after each migration, with the ledger's schema first in
-- the search_path; run again, it changes nothing. Then grant a role to each login:  GRANT budget_router_writer TO worker_login;
--
--   budget_router_writer   serves: reads the ledger, adds decisions, calls, settlements, grades; changes and deletes nothing
--   budget_router_trainer  learns, one at a time: reads all, saves and promotes policies, notes solves; adds nothing to the books
--   budget_router_reader   looks on: audit and spend; sees no task's text, metadata, n-grams, answers, nor a policy's arrays
--
-- The ledger's salt is shown to all three, who open the ledger by it; what was hashed under it is kept from the reader.
-- Nobody of these may UPDATE, DELETE or TRUNCATE, but for the writer, who keeps the counters of hard caps and of paces, and the
-- trainer, who renews and ends leases; the book of caps, cap_events, is added to alone. To forget a task, and to migrate, is left to the owner.
-- Making a role needs CREATEROLE; where roles are there already, owning the tables is enough.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['budget_router_writer', 'budget_router_trainer', 'budget_router_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), name);
    END LOOP;
END
$$;

REVOKE ALL ON
    budget_router_version, meta, menus, decisions, task_ngrams, erasures, call_openings, call_closings, settlements, samples,
    outcomes, policies, promotions, cap_events, cap_accounts, cap_reservations, cap_buckets, paces,
    solves, leases, shadows
FROM PUBLIC, budget_router_writer, budget_router_trainer, budget_router_reader;

-- what opening a ledger needs
GRANT SELECT ON budget_router_version, meta TO budget_router_writer, budget_router_trainer, budget_router_reader;

-- the writer
GRANT SELECT ON
    menus, decisions, task_ngrams, shadows, call_openings, call_closings, settlements, samples, outcomes, policies, promotions
TO budget_router_writer;
GRANT INSERT ON
    menus, decisions, task_ngrams, shadows, call_openings, call_closings, settlements, samples, outcomes
TO budget_router_writer;
GRANT SELECT, INSERT ON cap_events, cap_accounts, cap_reservations, cap_buckets TO budget_router_writer;
GRANT UPDATE (held, latest) ON cap_accounts TO budget_router_writer;
GRANT UPDATE (state, amount, paid, expires_at) ON cap_reservations TO budget_router_writer;
GRANT UPDATE (paid) ON cap_buckets TO budget_router_writer;
GRANT SELECT, INSERT ON paces TO budget_router_writer;
GRANT UPDATE (n_tasks, allowed, spent, billed, expected, chosen, promised) ON paces TO budget_router_writer;
GRANT USAGE ON SEQUENCE decisions_position_seq, outcomes_position_seq, cap_events_position_seq TO budget_router_writer;

-- the trainer and the reader
GRANT SELECT ON cap_events, cap_accounts, cap_reservations, cap_buckets, paces, solves, leases
TO budget_router_trainer, budget_router_reader;

-- the trainer
GRANT SELECT ON
    menus, decisions, task_ngrams, shadows, erasures, call_openings, call_closings, settlements, samples, outcomes, policies, promotions
TO budget_router_trainer;
GRANT INSERT ON policies, promotions, solves, leases TO budget_router_trainer;
GRANT UPDATE (expires_at, ended_at) ON leases TO budget_router_trainer;
GRANT USAGE ON SEQUENCE policies_position_seq, promotions_position_seq, solves_position_seq TO budget_router_trainer;

-- the reader
GRANT SELECT ON menus, shadows, erasures, call_openings, call_closings, promotions TO budget_router_reader;
GRANT SELECT (
    position, id, task_id, "group", strategy, strategy_settings, propensities, propensity, shadow_price, expected_cost,
    expected_accuracy, budget, policy_version, menu_hash, features_version, run_id, thread_id, decided_at, reason
) ON decisions TO budget_router_reader;
GRANT SELECT (decision_id) ON task_ngrams TO budget_router_reader;
GRANT SELECT (
    decision_id, status, agreement, prompt_tokens, completion_tokens, nano_usd, seconds, n_calls, settled_at
) ON settlements TO budget_router_reader;
GRANT SELECT (decision_id, place, "index", call_id) ON samples TO budget_router_reader;
GRANT SELECT (position, decision_id, score, source, graded_at) ON outcomes TO budget_router_reader;
GRANT SELECT (position, version, menu_hash, evidence, created_at) ON policies TO budget_router_reader;

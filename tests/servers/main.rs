//! Tests against real, private servers. `tests/run` sets up what they need.
//!
//! # What keeps data from being lost, doubled or altered, and the test that fails without it
//!
//! Tests named without a module are units, beside the code.
//!
//! | rule | test |
//! |---|---|
//! | an older epoch writes nothing; a packet that outlives its process is waited for or fails | `checkpoint::an_older_epoch_writes_nothing_in_sync`, `exactly_once::a_second_process_takes_the_stream` |
//! | a guard undoes the whole packet; an equal row counts as found | `checkpoint::guards_undo_the_whole_packet` |
//! | one process for one data folder | `bad_input::a_second_process_on_the_same_data_folder_is_refused` |
//! | a transaction is known by its place and its GTID | `events_up_to_the_part_are_covered_and_those_of_others_are_not`, `committed_parts_are_passed_over` |
//! | the mark advances also when nothing applies | `fan::an_idle_stream_keeps_up_and_a_silent_source_is_not_called_current` |
//! | COMMIT without an answer is never guessed | `exactly_once::cut_between_commit_and_its_answer` |
//! | a checkpoint behind memory is followed back; another target server is told | `exactly_once::a_checkpoint_behind_memory_is_followed_back`, `sync_kept::another_server_as_the_target_is_told` |
//! | what is too large commits in parts, in order, and is shown so | `sync_limits::a_transaction_beyond_the_targets_binlog_cache_commits_in_parts`, `front::a_transaction_beyond_the_limit_commits_in_parts`, `sync::a_transaction_within_a_span_commits_in_parts` |
//! | no part is committed before the end of its transaction has come | `sync_limits::no_part_is_committed_before_the_end_has_come` |
//! | only engines that can undo | `sync_target::what_does_not_fit_stops_and_goes_on_once_mended`, `columns_are_found_by_name` |
//! | a changed selection is accepted by name, or refused; one writer for a table | `sync_target::a_selection_is_narrowed_once_it_is_accepted`, `checkpoint::structures_owners_and_differences` |
//! | filtered kinds of row changes make the others upserts | `sync_kept::filtered_kinds_of_changes_make_the_others_upserts` |
//! | older checkpoints are taken up, newer ones refused | `sync_kept::defaults_of_databases_are_those_at_the_mark` |
//! | two values that the target might hold equal keep their order | `values_that_may_be_equal_meet` |
//! | grouping keeps the source's order; nothing is grouped over another change | `a_batch_ends_as_its_changes_do`, `a_unique_value_that_moves_keeps_the_order`, `sync_batches::what_trades_places_ends_alike_from_mariadb` |
//! | a list of values is, by type and NULL, what single statements are | `sync_applying::every_type_from_mysql_to_mariadb` and its like |
//! | keys that the two sides compare otherwise meet no other row | `sync_limits::a_key_that_only_the_target_takes_for_equal_meets_no_other_row` |
//! | a failed batch is replayed one by one, and stops at the very row | `sync::drift_stops_with_the_row_shown`, `sync::a_stop_shows_the_rows_of_the_target` |
//! | WHERE by a key of both sides, else by all columns and LIMIT 1 | `a_key_must_be_one_on_both_sides`, `without_a_key_every_column_counts` |
//! | what the target takes for equal is not taken for the same row: bytes, zeros with a sign, numbers of a document | `sync_odd::odd_cases_from_mysql_to_itself`, `sync_odd::odd_cases_from_mariadb_to_itself` |
//! | a trigger of the target is told, or stops where it refuses | `sync_target::triggers_of_the_target_are_told`, `sync_target::what_does_not_fit_stops_and_goes_on_once_mended` |
//! | an UPDATE sets what the target would set by itself | `columns_are_found_by_name` |
//! | the session that applies is explicit; a warning is an error | `sync_target::the_session_that_applies_is_its_own`, `sync_target::what_does_not_fit_stops_and_goes_on_once_mended` |
//! | TiDB's session, limits and codes; lock waits and deadlocks | `front::what_may_pass_is_tried_again_and_shown`, `sync_limits::a_deadlock_is_tried_again`, `sync_limits::a_lock_that_another_holds_is_waited_for` |
//! | a stop undoes its batch, names its row, and others go on | `sync::drift_stops_with_the_row_shown`, `sync_target::what_does_not_fit_stops_and_goes_on_once_mended`, `front::retries_end_at_the_limit_and_others_go_on` |
//! | a row, an event, a transaction is skipped with its decision in the same commit, whatever is killed | `hand::a_row_an_event_and_a_transaction_are_skipped_from_mariadb_to_mysql`, `hand_kills::a_decision_is_wholly_done_or_not_at_all_whenever_the_process_is_killed` |
//! | what was skipped is applied later once | `hand::what_was_skipped_is_applied_later_once_and_only_where_the_rows_allow_it` |
//! | drift: pause, warn, repair | `sync::drift_stops_with_the_row_shown`, `sync::drift_that_is_left_out_is_counted_and_kept`, `sync::drift_is_repaired_row_by_row` |
//! | a dump's place is proved, or each table has its own | `consistency::mariadb_10_11_ends_equal_in_every_way`, `consistency::mysql_9_7_ends_equal_in_every_way`, `consistency::mysql_9_7_without_gtids_ends_equal_in_the_ways_it_has`, `consistency::the_gtids_of_a_snapshot_are_those_before_its_place` |
//! | a dump without a lock: idempotent to its end, then strict | `sync::a_dump_without_a_lock_is_brought_to_one_moment`, `dump_fuzzy::a_row_in_the_way_of_another_is_taken_out_by_name_and_comes_back`, `dump_fuzzy::rows_that_never_changed_are_not_taken_out` |
//! | a table that is altered while it is dumped is dumped anew | `dump_trouble::a_table_altered_during_a_dump_makes_it_begin_anew`, `dump_fuzzy::a_table_altered_in_the_midst_of_its_chunks_ends_as_the_source_has_it` |
//! | each DDL statement runs once, or it is said why that cannot be known | `ddl::each_statement_runs_once_through_kills`, `ddl_cases::a_partition_that_a_crash_left_is_named` |
//! | a statement that failed at the source is never taken for done, nor for undone | `unknown_events::a_statement_that_failed_at_the_source_stops_the_stream` |
//! | merged tables: what adds runs once, what takes away stops | `ddl_cases::merged_tables_change_together`, `ddl_cases::a_merged_table_is_not_emptied`, `what_only_adds` |
//! | CREATE … SELECT, two-phase ALTER | `ddl::statements_in_parts` |
//! | values that one server alone knows stop | `ddl_cases::values_of_the_source_alone`, `values_that_only_one_server_knows` |
//! | the statement's session is set, or written into its text | `ddl_cases::sessions_mean_the_same` |
//! | a partition's rows go only where both servers agree which they are | `sync_odd::odd_cases_from_mysql_to_mariadb`, `sync_odd::odd_cases_from_mariadb_to_mysql`, `what_only_adds` |
//! | statements are read in their client's character set, and run in it | `what_is_read_is_given_on_in_its_own_bytes`, `sync_odd::odd_cases_from_mysql_to_itself` |
//! | rows logged as statements stop, also where a foreign key or a function may have written the task's | `sync_applying::changes_logged_as_statements_stop_the_stream`, `sync_applying::a_function_logged_by_its_call_stops_the_stream`, `sync_odd::odd_cases_from_mysql_to_itself` |
//! | images without all columns stop | `sync_odd::odd_cases_from_mysql_to_itself`, `bad_input::settings_that_make_replication_impossible_are_told` |
//! | statements across the selection stop | `sync_kept::statements_across_the_selection_stop` |
//! | DDL that nobody applies changes the structure all the same | `ddl_cases::structures_are_followed_where_nobody_looks` |
//! | the tracker reads what the servers read | `ddl_corpus::structures_follow_mysql`, `tracker::structures_follow_mariadb` |
//! | sequences and histories by name; what is no table is left out and told | `ddl_cases::sequences_and_histories`, `sync_kept::what_is_no_table_is_left_out_by_name` |
//! | the structure is the rows' own, or the stream stops and says what it goes by | `sync_target::a_structure_that_is_not_the_rows_own_pauses`, `rows_after_a_ddl_are_read_by_the_new_structure` |
//! | defaults of databases as they were then | `sync_kept::defaults_of_databases_are_those_at_the_mark` |
//! | foreign keys: whose work cascades are; checks as the event has them | `foreign_keys::cascades_that_mysql_logs_happen_once`, `foreign_keys::cascades_that_mariadb_does_not_log_happen_on_the_target`, `checks_are_those_of_the_event`, `a_child_stays_behind_its_parent_and_before_its_end` |
//! | XA: applied at its COMMIT, pinned (in the relay too) until then, unknown ones stop | `xa::prepared_waits_for_its_end_from_mysql`, `xa::an_unknown_xa_commit_stops`, `a_prepared_transaction_is_read_again_at_its_commit` |
//! | compressed transactions in bounded memory; an undecodable event stops | `sync_applying::every_way_to_change_rows`, `unknown_events::unknown_events_from_mysql`, `unknown_events::damage_within_compressed_rows_stops_the_stream` |
//! | lag by the source's clock, unknown where it is | `lag::a_clock_that_is_off_does_not_show`, `lag_is_by_the_sources_clock` |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod bad_input;
mod beginning;
mod binlog_files;
mod check;
mod check_accounts;
mod check_many;
mod check_rows;
mod check_start;
mod checkpoint;
mod column_types;
mod consistency;
mod copy;
mod ddl;
mod ddl_cases;
mod ddl_corpus;
mod decode;
mod dialect;
mod dump_chunks;
mod dump_fuzzy;
mod dump_job;
mod dump_lock;
mod dump_matrix;
mod dump_trouble;
mod exactly_once;
mod fan;
mod foreign_dump;
mod foreign_keys;
mod front;
mod hand;
mod hand_kills;
mod harness;
mod json_diff;
mod lag;
mod load;
mod load_trouble;
mod load_ways;
mod lost_folder;
mod main_job;
mod privileges_at_run;
mod programs;
mod real_target;
mod refused;
mod relay;
mod relay_files;
mod relay_mend;
mod relay_operator;
mod relay_trouble;
mod sync;
mod sync_applying;
mod sync_batches;
mod sync_kept;
mod sync_limits;
mod sync_odd;
mod sync_target;
mod tracker;
mod unknown_events;
mod xa;

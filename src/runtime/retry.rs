//! What happens after a failure: one total match from the error's kind.

use std::time::Duration;

use crate::model::ErrorKind;

/// Who tries again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// By itself, with backoff, for as long as `worker.retry_limit` says.
    Timed,
    /// By itself, with backoff, without a limit: it waits for the world to change.
    Patient,
    /// When the operator says so.
    Operator,
}

/// When something that stands for the operator is looked at again by itself: for what is mended on a
/// server, not here. Rarely, as a look may read much.
pub(crate) fn look_again(kind: ErrorKind, looks: u32) -> Option<Duration> {
    let mended_elsewhere = matches!(kind, ErrorKind::Privilege | ErrorKind::Checks);
    let doubled = 30_u64.checked_shl(looks).unwrap_or(u64::MAX);
    mended_elsewhere.then(|| Duration::from_secs(doubled.min(600)))
}

/// A kind's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Who tries again.
    pub(crate) retry: Retry,
    /// What the operator can do, where the error itself does not say.
    pub(crate) advice: &'static str,
}

/// The policy of a kind of error.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn policy(kind: ErrorKind) -> Policy {
    let (retry, advice) = match kind {
        ErrorKind::Connect => (
            Retry::Timed,
            "see that the server runs and can be reached from here",
        ),
        ErrorKind::TargetBusy => (
            Retry::Timed,
            "see what holds the target's locks, then retry",
        ),
        ErrorKind::DiskFull => (
            Retry::Patient,
            "free some space; work goes on by itself then",
        ),
        ErrorKind::Changed => (
            Retry::Timed,
            "let the DDL on the source end; the dump starts anew",
        ),
        ErrorKind::Config => (Retry::Operator, "mend the configuration and start again"),
        ErrorKind::Auth => (
            Retry::Operator,
            "mend the account or the password, then retry",
        ),
        ErrorKind::Tls => (
            Retry::Operator,
            "mend the certificates or `tls`, then retry",
        ),
        ErrorKind::Privilege => (Retry::Operator, "run the `GRANT` shown, then retry"),
        ErrorKind::Setting => (Retry::Operator, "change the server's setting, then retry"),
        ErrorKind::Checks => (
            Retry::Operator,
            "mend what was found; it is looked at again by itself, or at once by a retry",
        ),
        ErrorKind::ServerId => (
            Retry::Operator,
            "give this source another `server_id`, then start again",
        ),
        ErrorKind::Damaged => (
            Retry::Operator,
            "retry fetches it again; if it stays, the source's own file is damaged",
        ),
        ErrorKind::Unsupported => (
            Retry::Operator,
            "this program cannot apply it; settle it by hand, then dump anew",
        ),
        ErrorKind::Purged => (
            Retry::Operator,
            "the source no longer has it: start the task anew from a full copy (README, \"Starting anew\")",
        ),
        ErrorKind::History => (
            Retry::Operator,
            "the address answers as another server: see which one is right",
        ),
        ErrorKind::Structure => (Retry::Operator, "make both structures agree, then retry"),
        ErrorKind::File => (Retry::Operator, "see the path's owner and mode, then retry"),
        ErrorKind::Fenced => (
            Retry::Operator,
            "another process runs this task: stop it, then retry here",
        ),
        ErrorKind::Checkpoint => (
            Retry::Operator,
            "see what the checkpoint on the target says, then retry",
        ),
        ErrorKind::Target => (Retry::Operator, "mend the target, then retry"),
        ErrorKind::Drift => (
            Retry::Operator,
            "compare the row on both sides, mend the target, then retry",
        ),
        ErrorKind::Refused => (Retry::Operator, "ask for something else"),
        ErrorKind::Panicked | ErrorKind::Internal => (
            Retry::Operator,
            "retry; if it comes again, report it with the log",
        ),
    };
    Policy { retry, advice }
}

/// The pause before try number `tries` (from 1): 1 s, doubled each time, at most a minute.
pub(crate) fn backoff(tries: u32) -> Duration {
    let doubled = 1_u64
        .checked_shl(tries.saturating_sub(1))
        .unwrap_or(u64::MAX);
    Duration::from_secs(doubled.min(60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::error_table::{Class, TABLE};

    #[test]
    fn backoff_doubles_up_to_a_minute() {
        let seconds: Vec<u64> = (1..=8).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX).as_secs(), 60);
    }

    /// The table of numbers says what follows; the kind that it gives must follow so.
    #[test]
    fn each_number_of_the_table_is_dealt_with_as_it_says() {
        for entry in TABLE {
            let retries = policy(entry.kind).retry != Retry::Operator;
            assert_eq!(
                retries,
                entry.class == Class::Retry,
                "{:?}: {:?} as {:?}",
                entry.numbers,
                entry.class,
                entry.kind
            );
        }
    }

    #[test]
    fn what_is_mended_on_a_server_is_looked_at_again() {
        let seconds: Vec<u64> = (0..7)
            .filter_map(|looks| look_again(ErrorKind::Privilege, looks))
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(seconds, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(
            look_again(ErrorKind::Checks, 99),
            Some(Duration::from_mins(10))
        );
        assert_eq!(look_again(ErrorKind::Drift, 0), None);
    }

    #[test]
    fn what_is_in_the_data_waits_for_the_operator() {
        for kind in [
            ErrorKind::Target,
            ErrorKind::Drift,
            ErrorKind::Structure,
            ErrorKind::Unsupported,
        ] {
            assert_eq!(policy(kind).retry, Retry::Operator, "{kind:?}");
        }
        assert_eq!(policy(ErrorKind::Connect).retry, Retry::Timed);
        assert_eq!(policy(ErrorKind::DiskFull).retry, Retry::Patient);
    }
}

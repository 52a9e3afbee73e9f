//! What storage engines can do: known by name, and nothing is taken for granted of one that is not.

/// Whether its rows can be read as they were at one moment while others write.
pub fn keeps_snapshots(engine: &str) -> bool {
    is_one_of(engine, &["InnoDB", "ROCKSDB", "TokuDB"])
}

/// Whether what a transaction has written can be undone: only then do rows and the checkpoint beside
/// them commit together.
pub fn rolls_back(engine: &str) -> bool {
    // NDB undoes, but shows no snapshot.
    keeps_snapshots(engine) || is_one_of(engine, &["ndbcluster", "TiKV"])
}

fn is_one_of(engine: &str, known: &[&str]) -> bool {
    known.iter().any(|name| name.eq_ignore_ascii_case(engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_name() {
        assert!(keeps_snapshots("innodb") && rolls_back("InnoDB"));
        assert!(rolls_back("ndbcluster") && !keeps_snapshots("ndbcluster"));
        for engine in [
            "MyISAM",
            "Aria",
            "MEMORY",
            "CSV",
            "BLACKHOLE",
            "MRG_MyISAM",
            "",
            "new",
        ] {
            assert!(!keeps_snapshots(engine) && !rolls_back(engine), "{engine}");
        }
    }
}

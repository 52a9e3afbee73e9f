//! The texts of tables without what moves with every row.

/// The text of `SHOW CREATE TABLE` without its AUTO_INCREMENT counter, which is no part of what a
/// table is.
pub fn without_counter(create: &str) -> String {
    const COUNTER: &str = " AUTO_INCREMENT=";
    // A comment may hold the same words: those of columns stand before the options, as line ends in
    // them are escaped, and the table's stands behind the counter.
    let options = create.find("\n) ").unwrap_or(create.len());
    let comment = create
        .get(options..)
        .and_then(|rest| rest.find(" COMMENT="))
        .map_or(create.len(), |at| options + at);
    let Some(at) = create
        .get(options..comment)
        .and_then(|options| options.find(COUNTER))
    else {
        return create.to_owned();
    };
    let (head, rest) = create.split_at(options + at);
    let rest = rest.get(COUNTER.len()..).unwrap_or_default();
    format!(
        "{head}{}",
        rest.trim_start_matches(|c: char| c.is_ascii_digit())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_left_out() {
        assert_eq!(
            without_counter(
                "CREATE TABLE `t` (\n) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=x"
            ),
            "CREATE TABLE `t` (\n) ENGINE=InnoDB DEFAULT CHARSET=x"
        );
        assert_eq!(without_counter("CREATE TABLE `t`"), "CREATE TABLE `t`");
        let counted = |columns: &str, counter: &str, comment: &str| {
            format!(
                "CREATE TABLE `t` (\n{columns}\n) ENGINE=InnoDB{counter} DEFAULT CHARSET=x{comment}"
            )
        };
        let in_comments = (
            "  `a` int COMMENT 'x AUTO_INCREMENT=3'",
            " COMMENT='y AUTO_INCREMENT=4'",
        );
        assert_eq!(
            without_counter(&counted(in_comments.0, " AUTO_INCREMENT=9", in_comments.1)),
            counted(in_comments.0, "", in_comments.1)
        );
        let none = counted(in_comments.0, "", in_comments.1);
        assert_eq!(without_counter(&none), none);
    }

    #[test]
    fn the_counter_alone_is_left_out() {
        let columns = "CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=3'";
        for (options, without) in [
            (
                "InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=x",
                "InnoDB DEFAULT CHARSET=x",
            ),
            (
                "InnoDB AUTO_INCREMENT=2\n PARTITION BY HASH (`a`)",
                "InnoDB\n PARTITION BY HASH (`a`)",
            ),
            (
                "InnoDB COMMENT='x AUTO_INCREMENT=2'",
                "InnoDB COMMENT='x AUTO_INCREMENT=2'",
            ),
        ] {
            let create = format!("{columns}\n) ENGINE={options}");
            assert_eq!(
                without_counter(&create),
                format!("{columns}\n) ENGINE={without}")
            );
        }
    }
}

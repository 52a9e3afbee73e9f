//! What screens are made of. Each turns figures into lines of text; none knows a screen.

pub mod chart;
pub mod gauge;
pub mod pane;
pub mod status_line;
pub mod table;

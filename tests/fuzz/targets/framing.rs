//! A whole binlog file: the frame of every event, compressed transactions, and the body of each kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tideway::binlog::{
    Event, EventKind, FormatDescription, GtidEvent, HeartbeatEvent, IncidentEvent, Payload,
    QueryEvent, RotateEvent, TableMap, XaPrepareEvent, parse_gtid_list, parse_previous_gtids,
    parse_xid, simple,
};
use tideway::model::Result;

fuzz_target!(|file: &[u8]| {
    let mut format: Option<FormatDescription> = None;
    for bytes in tideway_fuzz::events(file) {
        if let Ok(found) = FormatDescription::parse(&bytes) {
            format = Some(found);
        }
        if let Some(format) = &format
            && let Ok(event) = format.open(&bytes)
        {
            assert!(event.body.len() < bytes.len());
            let _ = read(&event, format, true);
        }
    }
});

fn read(event: &Event<'_>, format: &FormatDescription, is_outer: bool) -> Result<()> {
    let body = event.body;
    match event.header.kind {
        kind if kind.is_gtid() => {
            let gtid = GtidEvent::parse(event)?;
            if let Some(gtid) = gtid.gtid() {
                gtid.to_string();
            }
        }
        EventKind::QUERY | EventKind::QUERY_COMPRESSED => seen(QueryEvent::parse(event)?),
        EventKind::TABLE_MAP => seen(TableMap::parse(event, format)?),
        EventKind::ROTATE => seen(RotateEvent::parse(body)?),
        EventKind::XID => seen(parse_xid(body)?),
        EventKind::XA_PREPARE => seen(XaPrepareEvent::parse(body)?),
        EventKind::PREVIOUS_GTIDS => seen(parse_previous_gtids(body)?.to_string()),
        EventKind::GTID_LIST => seen(parse_gtid_list(body)?),
        EventKind::ROWS_QUERY => seen(simple::parse_rows_query(body)?),
        EventKind::BINLOG_CHECKPOINT => seen(simple::parse_binlog_checkpoint(body)?),
        EventKind::INCIDENT => seen(IncidentEvent::parse(body)?),
        EventKind::HEARTBEAT => seen(HeartbeatEvent::parse(body)),
        EventKind::HEARTBEAT_V2 => seen(HeartbeatEvent::parse_v2(body)?),
        EventKind::TRANSACTION_PAYLOAD if is_outer => {
            let mut events = Payload::parse(body)?.events()?;
            while let Some(inner) = events.next_event()? {
                read(&format.open_inner(inner)?, format, false)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reading is all there is to do with it.
fn seen<T>(_: T) {}

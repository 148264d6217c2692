//! The chart: ratios to raw TCP, one panel for each kind of scenario. For small messages to `floor`: without frames, many of
//! them are one stretch of memory.

use std::{ops::Range, path::Path};

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::results::Results;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One figure of several scenarios, side by side.
struct Panel {
    title: &'static str,
    key: &'static str,
    /// What the figures are compared with.
    base: &'static str,
    /// What stands below the bars, and the scenario.
    groups: &'static [(&'static str, &'static str)],
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "Bulk and text, speed: more is better (one thread)",
        key: "speed",
        base: "raw",
        groups: &[
            ("64 KiB down", "bulk/download/64KiB/one-thread"),
            ("1 MiB down", "bulk/download/1MiB/one-thread"),
            ("64 KiB up", "bulk/upload/64KiB/one-thread"),
            ("1 MiB up", "bulk/upload/1MiB/one-thread"),
            ("text 64 KiB", "text/download/64KiB/one-thread"),
        ],
    },
    Panel {
        title: "Bulk and text, speed: more is better (two workers)",
        key: "speed",
        base: "raw",
        groups: &[
            ("64 KiB down", "bulk/download/64KiB/two-workers"),
            ("1 MiB down", "bulk/download/1MiB/two-workers"),
            ("64 KiB up", "bulk/upload/64KiB/two-workers"),
            ("1 MiB up", "bulk/upload/1MiB/two-workers"),
            ("text 64 KiB", "text/download/64KiB/two-workers"),
        ],
    },
    Panel {
        title: "Small messages/s, beside floor: more is better (one thread)",
        key: "rate",
        base: "floor",
        groups: &[
            ("16 B down", "small/download/16B/one-thread"),
            ("125 B down", "small/download/125B/one-thread"),
            ("1 KiB down", "small/download/1KiB/one-thread"),
            ("16 B up", "small/upload/16B/one-thread"),
            ("125 B up", "small/upload/125B/one-thread"),
            ("1 KiB up", "small/upload/1KiB/one-thread"),
        ],
    },
    Panel {
        title: "One message of 1 GiB, receiver's CPU: less is better",
        key: "cpu",
        base: "raw",
        groups: &[
            ("one frame", "one-message/frame"),
            ("one masked frame", "one-message/masked-frame"),
            ("64 KiB frames", "one-message/fragments"),
        ],
    },
    Panel {
        title: "Echo, median round trip: less is better (1t, 2w: one process; 2p: two)",
        key: "p50",
        base: "raw",
        groups: &[
            ("32 B, 1t", "echo/32B/one-thread"),
            ("32 B, 2w", "echo/32B/two-workers"),
            ("32 B, 2p", "echo/32B/two-processes"),
            ("4 KiB, 1t", "echo/4KiB/one-thread"),
            ("4 KiB, 2w", "echo/4KiB/two-workers"),
            ("4 KiB, 2p", "echo/4KiB/two-processes"),
        ],
    },
    Panel {
        title: "1000 idle connections after an echo each, memory: less is better",
        key: "after",
        base: "raw",
        groups: &[("RSS/connection", "idle/1000")],
    },
];

/// Ours stand out, `floor` is a shadow, the peers are shades that can be told apart.
const COLORS: [(&str, RGBColor); 8] = [
    ("floor", RGBColor(175, 175, 175)),
    ("wsstream", RGBColor(200, 30, 45)),
    ("wsstream-whole", RGBColor(240, 130, 120)),
    ("tokio-tungstenite", RGBColor(30, 80, 140)),
    ("fastwebsockets", RGBColor(80, 150, 200)),
    ("tokio-websockets", RGBColor(40, 130, 90)),
    ("yawc", RGBColor(140, 190, 100)),
    ("sockudo-ws", RGBColor(150, 110, 180)),
];

const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "Helvetica, Arial, sans-serif";

/// Everything that was measured of the panels; nothing if it was nothing.
pub(crate) fn draw(results: &Results, path: &Path) -> Result<()> {
    let measured = |panel: &&Panel| panel.groups.iter().any(|(_, name)| results.scenario(name).is_some());
    let panels: Vec<_> = PANELS.iter().filter(measured).collect();
    let rows = panels.len().div_ceil(2).max(1);
    let root = SVGBackend::new(path, (1500, 100 + 340 * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(90);
    legend(&head, results)?;
    for (panel, area) in panels.iter().zip(body.split_evenly((rows, 2))) {
        draw_panel(panel, &area, results)?;
    }
    root.present()?;
    Ok(())
}

fn legend(area: &Area, results: &Results) -> Result<()> {
    let title = (FONT, 24).into_font().color(&INK);
    area.draw_text("wsstream and its peers: ratios to raw TCP, which is the line at 1", &title, (20, 14))?;
    let text = (FONT, 17).into_font().color(&INK);
    let mut left = 20;
    for (name, color) in COLORS {
        if results.scenarios.iter().any(|scenario| scenario.libraries.iter().any(|library| library == name)) {
            area.draw(&Rectangle::new([(left, 54), (left + 18, 72)], color.filled()))?;
            area.draw_text(name, &text, (left + 25, 54))?;
            left += 60 + 9 * name.len() as i32;
        }
    }
    Ok(())
}

fn draw_panel(panel: &Panel, area: &Area, results: &Results) -> Result<()> {
    let mut groups = Vec::new();
    for (label, name) in panel.groups {
        let Some(scenario) = results.scenario(name) else { continue };
        let bars: Vec<_> = COLORS
            .iter()
            .filter(|(library, _)| *library != panel.base)
            .filter_map(|(library, color)| Some((scenario.ratio(library, panel.base, panel.key)?, *color)))
            .collect();
        groups.push((*label, bars));
    }
    let highest = groups.iter().flat_map(|(_, bars)| bars).map(|(ratio, _)| *ratio).fold(1.0, f64::max);
    let top = highest * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, (FONT, 18).into_font().color(&INK))
        .margin(14)
        .x_label_area_size(30)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..groups.len() as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(6)
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .axis_style(FAINT)
        .y_label_style((FONT, 14).into_font().color(&INK))
        .y_label_formatter(&|ratio| format!("{}", (ratio * 100.0).round() / 100.0))
        .draw()?;
    for (at, (label, bars)) in groups.iter().enumerate() {
        for (bar, (ratio, color)) in bars.iter().enumerate() {
            let Range { start, end } = place(at, bar, bars.len());
            chart.draw_series([Rectangle::new([(start, 0.0), (end, *ratio)], color.filled())])?;
        }
        let below = (FONT, 15).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        let (x, y) = chart.backend_coord(&(at as f64 + 0.5, 0.0));
        let (left, up) = area.get_base_pixel();
        area.draw_text(label, &below, (x - left, y - up + 8))?;
    }
    chart.draw_series([PathElement::new([(0.0, 1.0), (groups.len() as f64, 1.0)], INK.stroke_width(2))])?;
    Ok(())
}

/// Where a bar of a group stands.
fn place(group: usize, bar: usize, bars: usize) -> Range<f64> {
    let width = 0.84 / bars as f64;
    let start = group as f64 + 0.08 + width * bar as f64;
    start..start + width * 0.9
}

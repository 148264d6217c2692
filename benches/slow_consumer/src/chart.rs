//! The chart: a panel for each library, the same scales in all. How fast the consumer is, how much memory the receiver needs.

use std::path::Path;

use anyhow::Result;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use wsstream_peers::numbers::number;

use crate::{
    case::{Case, Size, Speed},
    results::Results,
};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1000;
const HEAD: u32 = 104;
const PANEL: u32 = 230;
const FOOT: u32 = 34;
const COLUMNS: usize = 4;

const INK: RGBColor = RGBColor(36, 41, 47);
const SOFT: RGBColor = RGBColor(101, 109, 118);
const FAINT: RGBColor = RGBColor(228, 231, 235);
const OURS: RGBColor = RGBColor(255, 246, 240);
const BORDER: RGBColor = RGBColor(208, 215, 222);
const FONT: &str = "Helvetica, Arial, sans-serif";

const ENDLESS: RGBColor = RGBColor(200, 30, 45);

/// The endless message stands out.
const LINES: [(Size, RGBColor, u32); 4] = [
    (Size::Of(1 << 10), RGBColor(140, 190, 220), 2),
    (Size::Of(64 << 10), RGBColor(70, 140, 195), 2),
    (Size::Of(1 << 20), RGBColor(25, 75, 140), 2),
    (Size::Endless, ENDLESS, 4),
];

/// The least and the most MiB of the scale, which is logarithmic.
const LEAST: f64 = 0.06;
const MOST: f64 = 400.0;

pub(crate) fn draw(results: &Results, path: &Path) -> Result<()> {
    let rows = results.libraries.len().div_ceil(COLUMNS).max(1);
    let root = SVGBackend::new(path, (WIDTH, HEAD + PANEL * rows as u32 + FOOT)).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, rest) = root.split_vertically(HEAD);
    let (body, foot) = rest.split_vertically(PANEL * rows as u32);
    draw_head(&head)?;
    let areas = body.margin(0, 0, 12, 12).split_evenly((rows, COLUMNS));
    for (library, area) in results.libraries.iter().zip(&areas) {
        draw_panel(results, library, area)?;
    }
    let about = &results.about;
    let quick = if about.quick { "quick pass, means nothing; " } else { "" };
    let text = format!("{quick}{}, {} x {}; medians, rounds: {}", about.date, about.cores, about.cpu, about.rounds);
    foot.draw_text(&text, &font(13, SOFT), (24, 8))?;
    root.present()?;
    Ok(())
}

fn font(size: i32, color: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color)
}

fn draw_head(area: &Area) -> Result<()> {
    area.draw_text("What a slow consumer costs the receiver", &font(25, INK), (24, 16))?;
    let what = "Memory above the idle process, by how much the consumer wants (MiB/s); and how much of the endless message it gets.";
    area.draw_text(what, &font(15, SOFT), (24, 48))?;
    let mut left = 24;
    for (size, color, width) in LINES {
        area.draw(&PathElement::new([(left, 86), (left + 26, 86)], color.stroke_width(width)))?;
        let title = size.title();
        area.draw_text(&title, &font(15, INK), (left + 34, 78))?;
        left += 60 + 8 * title.len() as i32;
    }
    Ok(())
}

/// What becomes of the endless message.
fn verdict(results: &Results, library: &str) -> &'static str {
    let at = |speed| Case { size: Size::Endless, speed };
    let measured = |speed: &Speed| results.median(library, at(*speed), |_| Some(0.0)).is_some();
    let mut speeds = Speed::ALL.into_iter().filter(measured).peekable();
    if speeds.peek().is_none() {
        ""
    } else if speeds.any(|speed| results.takes_all(library, at(speed))) {
        "endless: memory grows, nothing is given"
    } else {
        "endless: follows the consumer"
    }
}

fn draw_panel(results: &Results, library: &str, area: &Area) -> Result<()> {
    let area = area.margin(6, 6, 6, 6);
    let (width, height) = area.dim_in_pixel();
    let corners = [(0, 0), (width as i32 - 1, height as i32 - 1)];
    if library.starts_with("wsstream") {
        area.draw(&Rectangle::new(corners, OURS.filled()))?;
    }
    area.draw(&Rectangle::new(corners, BORDER.stroke_width(1)))?;
    area.draw_text(title(library), &font(16, INK), (12, 9))?;
    area.draw_text(verdict(results, library), &font(12, SOFT), (12, 30))?;

    let mut chart = ChartBuilder::on(&area)
        .margin_top(54)
        .margin_right(14)
        .margin_bottom(6)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(-0.3..(Speed::ALL.len() as f64 - 0.7), (LEAST..MOST).log_scale())?;
    let (left, top) = area.get_base_pixel();
    for (mib, label) in [(0.1, "0.1 MiB"), (1.0, "1 MiB"), (10.0, "10 MiB"), (100.0, "100 MiB")] {
        let ends = [(-0.3, mib), (Speed::ALL.len() as f64 - 0.7, mib)];
        chart.draw_series([PathElement::new(ends, FAINT.stroke_width(1))])?;
        let (x, y) = chart.backend_coord(&(-0.3, mib));
        let beside = font(12, SOFT).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw_text(label, &beside, (x - left - 6, y - top))?;
    }
    let below = |at: f64, row: i32, text: &str, style: TextStyle<'_>| {
        let (x, y) = chart.backend_coord(&(at, LEAST));
        area.draw_text(text, &style, (x - left, y - top + 6 + 17 * row))
    };
    let (center, right) = (Pos::new(HPos::Center, VPos::Top), Pos::new(HPos::Right, VPos::Top));
    below(-0.62, 0, "wants", font(12, SOFT).pos(right))?;
    below(-0.62, 1, "gets", font(12, ENDLESS).pos(right))?;
    for (at, speed) in Speed::ALL.into_iter().enumerate() {
        below(at as f64, 0, label(speed), font(12, SOFT).pos(center))?;
        let case = Case { size: Size::Endless, speed };
        if let Some(rate) = results.median(library, case, |row| Some(row.bytes_per_second)) {
            below(at as f64, 1, &number(rate / f64::from(1 << 20), 0), font(12, ENDLESS).pos(center))?;
        }
    }
    for (size, color, width) in LINES {
        let point = |(at, speed)| {
            let memory = results.median(library, Case { size, speed }, |row| Some(row.receiver_memory()))?;
            Some((at as f64, (memory / f64::from(1 << 20)).clamp(LEAST, MOST)))
        };
        let points: Vec<_> = Speed::ALL.into_iter().enumerate().filter_map(point).collect();
        chart.draw_series([PathElement::new(points.clone(), color.stroke_width(width))])?;
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, width + 1, color.filled())))?;
    }
    Ok(())
}

fn title(library: &str) -> &str {
    match library {
        "raw" => "raw TCP",
        "wsstream" => "wsstream, chunks",
        "wsstream-whole" => "wsstream, whole messages",
        peer => peer,
    }
}

/// Below a panel there is little room.
fn label(speed: Speed) -> &'static str {
    match speed {
        Speed::Unlimited => "all",
        Speed::Limited(100) => "100",
        Speed::Limited(10) => "10",
        Speed::Limited(_) => "1",
        Speed::Stopped => "stop",
    }
}

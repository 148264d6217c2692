//! The chart: what one message to one receiver costs, over the number of receivers; and what a GiB costs where some are stopped.

use std::path::Path;

use anyhow::Result;
use plotters::{coord::Shift, prelude::*};

use crate::{case::Case, figures::Runs};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Ours stands out, the limit is black, the peers are shades that can be told apart.
const COLORS: [(&str, RGBColor); 7] = [
    ("raw", RGBColor(40, 40, 40)),
    ("wsstream", RGBColor(200, 30, 45)),
    ("tokio-tungstenite", RGBColor(30, 80, 140)),
    ("fastwebsockets", RGBColor(80, 150, 200)),
    ("tokio-websockets", RGBColor(40, 130, 90)),
    ("yawc", RGBColor(140, 190, 100)),
    ("sockudo-ws", RGBColor(150, 110, 180)),
];

const FONT: &str = "Helvetica, Arial, sans-serif";
const FAINT: RGBColor = RGBColor(225, 225, 225);

pub(crate) fn draw(cases: &[Case], runs: &Runs, path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, (1400, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(700);
    let (steady, stopped): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.stopped == 0);
    lines(&left, &steady, runs)?;
    bars(&right, &stopped, runs)?;
    root.present()?;
    Ok(())
}

fn lines(area: &Area, cases: &[&Case], runs: &Runs) -> Result<()> {
    let points = |library: &str| -> Vec<(f64, f64)> {
        let point = |case: &&Case| Some((case.receivers as f64, runs.median(case.name, library, "frame")?));
        cases.iter().filter_map(point).collect()
    };
    let top = COLORS.iter().flat_map(|(library, _)| points(library)).map(|(_, y)| y).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption("Relay CPU, us for one message to one receiver: less is better", (FONT, 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(50)
        .build_cartesian_2d((0.9f64..1100.0).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .x_desc("receivers")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (library, color) in COLORS {
        let points = points(library);
        if points.is_empty() {
            continue;
        }
        let series = LineSeries::new(points, color.stroke_width(2)).point_size(4);
        chart
            .draw_series(series)?
            .label(library)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).background_style(WHITE).draw()?;
    Ok(())
}

fn bars(area: &Area, cases: &[&Case], runs: &Runs) -> Result<()> {
    let value = |case: &Case, library: &str| runs.median(case.name, library, "cpu");
    let values = cases.iter().flat_map(|case| COLORS.iter().filter_map(|(library, _)| value(case, library)));
    let top = values.fold(0.1, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .caption("Relay CPU, s/GiB delivered to 490 of 500 receivers", (FONT, 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..cases.len().max(1) as f64, 0.0..top)?;
    let name = |x: &f64| {
        let case = cases.get((x - 0.5).round() as usize).filter(|_| x.fract() == 0.5);
        case.map_or(String::new(), |case| case.name.to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .x_labels(2 * cases.len() + 1)
        .x_label_formatter(&name)
        .draw()?;
    let width = 0.84 / COLORS.len() as f64;
    for (at, case) in cases.iter().enumerate() {
        for (bar, (library, color)) in COLORS.iter().enumerate() {
            let Some(value) = value(case, library) else { continue };
            let start = at as f64 + 0.08 + width * bar as f64;
            chart.draw_series([Rectangle::new([(start, 0.0), (start + width * 0.9, value)], color.filled())])?;
        }
    }
    Ok(())
}

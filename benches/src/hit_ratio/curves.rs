//! Miss-ratio curves as an SVG picture: one panel for each trace, a line for each cache.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Run;

/// Panels beside each other.
const COLUMNS: usize = 3;
/// Size of a panel, in pixels.
const PANEL: (u32, u32) = (400, 300);
/// Height of the legend's lines, in pixels.
const LEGEND_LINE: u32 = 24;
/// Entries of the legend in a line.
const LEGEND_COLUMNS: usize = 6;
/// Room above and below the lines of a panel, in parts of their range.
const MARGIN: f64 = 0.05;

/// Told apart also by those who do not see all colours: the palette of Okabe and Ito
/// (<https://jfly.uni-koeln.de/color/>), and more for those after it.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(178, 170, 30),
    RGBColor(120, 94, 240),
    RGBColor(150, 75, 40),
    RGBColor(110, 110, 110),
    RGBColor(200, 30, 60),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the runs, whose order is that of the panels and of the legend. Lines of several shards are left out.
///
/// # Errors
/// There is nothing to draw, or the file cannot be written.
pub fn draw(path: &Path, runs: &[Run]) -> Result<()> {
    let runs: Vec<&Run> = runs.iter().filter(|run| run.shards.unwrap_or(1) == 1).collect();
    let mut traces: Vec<&str> = runs.iter().map(|run| &run.trace[..]).collect();
    traces.dedup();
    let mut policies: Vec<&str> = Vec::new();
    for run in &runs {
        if !policies.contains(&run.policy) {
            policies.push(run.policy);
        }
    }
    let columns = traces.len().min(COLUMNS);
    anyhow::ensure!(columns > 0, "there is nothing to draw");
    let rows = traces.len().div_ceil(columns);
    let legend_height = policies.len().div_ceil(LEGEND_COLUMNS) as u32 * LEGEND_LINE;
    let panels_height = rows as u32 * PANEL.1;
    let root = SVGBackend::new(path, (columns as u32 * PANEL.0, panels_height + legend_height)).into_drawing_area();
    let drawn = root.fill(&WHITE).map_err(|error| anyhow!("{error}")).and_then(|()| {
        let (panels, legend) = root.split_vertically(panels_height);
        for (panel, trace) in panels.split_evenly((rows, columns)).iter().zip(&traces) {
            let runs: Vec<&Run> = runs.iter().copied().filter(|run| run.trace == **trace).collect();
            draw_panel(panel, trace, &runs, &policies)?;
        }
        draw_legend(&legend, &policies)?;
        root.present().map_err(|error| anyhow!("{error}"))
    });
    drawn.with_context(|| format!("{}: cannot draw the curves", path.display()))
}

fn draw_panel(panel: &Area<'_>, trace: &str, runs: &[&Run], policies: &[&str]) -> Result<()> {
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (first, last) = bounds(&mut runs.iter().map(|run| run.cache_objects as f64));
    let (least, most) = bounds(&mut runs.iter().map(|run| run.miss_ratio() * 100.0));
    let margin = (most - least).max(1.0) * MARGIN;
    let mut chart = ChartBuilder::on(panel)
        .caption(trace, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(44)
        // One size alone would be no range.
        .build_cartesian_2d((first..last.max(first * 1.1)).log_scale(), (least - margin)..(most + margin))
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("objects")
        .y_desc("misses, %")
        .x_label_formatter(&|objects| short(*objects))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    for (place, policy) in policies.iter().enumerate() {
        let mut points: Vec<(f64, f64)> = runs
            .iter()
            .filter(|run| run.policy == *policy)
            .map(|run| (run.cache_objects as f64, run.miss_ratio() * 100.0))
            .collect();
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
        let line = LineSeries::new(points, colour(place).stroke_width(2)).point_size(2);
        chart.draw_series(line).map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

fn draw_legend(legend: &Area<'_>, policies: &[&str]) -> Result<()> {
    let rows = policies.len().div_ceil(LEGEND_COLUMNS);
    let cells = legend.split_evenly((rows, LEGEND_COLUMNS.min(policies.len())));
    for (place, (cell, policy)) in cells.iter().zip(policies).enumerate() {
        let middle = LEGEND_LINE as i32 / 2;
        let style = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos { h_pos: HPos::Left, v_pos: VPos::Center });
        cell.draw(&PathElement::new(vec![(12, middle), (36, middle)], colour(place).stroke_width(3)))
            .and_then(|()| cell.draw(&Text::new(policy.to_string(), (42, middle), style)))
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(())
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// A number of objects with k and M.
fn short(objects: f64) -> String {
    match objects {
        _ if objects >= 1e6 => format!("{}M", (objects / 1e5).round() / 10.0),
        _ if objects >= 1e3 => format!("{}k", (objects / 1e2).round() / 10.0),
        _ => format!("{}", objects.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(trace: &str, policy: &'static str, cache_objects: u64, misses: u64) -> Run {
        Run { trace: trace.into(), policy, shards: None, cache_objects, requests: 1_000, misses }
    }

    #[test]
    fn a_picture_has_a_panel_for_each_trace_and_a_line_for_each_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curves.svg");
        let mut runs = Vec::new();
        for trace in ["oltp", "p3", "w106", "one_size"] {
            let sizes = if trace == "one_size" { 1 } else { 3 };
            for policy in ["lru", "two_q"] {
                runs.extend((0..sizes).map(|size| run(trace, policy, 10 << size, 900 - 100 * size)));
            }
        }
        draw(&path, &runs).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.contains("width=\"1200\" height=\"624\""), "three panels, two rows, and one line: {}", &svg[..200]);
        for text in ["oltp", "p3", "w106", "one_size", "lru", "two_q", "objects", "misses, %"] {
            assert!(svg.contains(&format!("{text}\n</text>")), "{text} is not in it");
        }
        let lines = |place: usize| {
            let RGBColor(red, green, blue) = COLOURS[place];
            let stroke = format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\" stroke-width=\"2\"");
            svg.matches(&stroke).count()
        };
        assert!(lines(0) >= 3 && lines(0) == lines(1), "{} and {}", lines(0), lines(1));
        assert!(draw(&path, &[]).is_err(), "there is nothing to draw");
        let error = draw(&dir.path().join("none/curves.svg"), &runs).unwrap_err();
        assert!(format!("{error:#}").contains("none/curves.svg"), "{error:#}");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([0.0, 187.0, 1_869.0, 46_720.0, 1_250_000.0].map(short), ["0", "187", "1.9k", "46.7k", "1.3M"]);
    }
}

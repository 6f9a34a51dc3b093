"""A training's loss and its zero-shot AUROC over the steps, as SVG.

usage: curve.py LOG.csv STEP:AUROC... >curve.svg     LOG.csv: as `tricot train` writes it
"""

import csv
import sys

WIDTH, HEIGHT, LEFT, TOP, BIN = 640, 300, 50, 20, 50


def polyline(points, colour, dots=False):
    """points: (x, y) in [0, 1], y upwards."""
    at = [(LEFT + x * (WIDTH - 2 * LEFT), TOP + (1 - y) * (HEIGHT - 3 * TOP)) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    text = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    if dots:
        text += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
    return text


def label(x, y, text, anchor="middle", colour="#444"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="11" font-family="sans-serif" '
            f'text-anchor="{anchor}" fill="{colour}">{text}</text>')


def main(log, scores):
    with open(log, newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    scores = [tuple(map(float, score.split(":"))) for score in scores]
    steps, top = len(losses), max(losses)
    means = [(min(i + BIN, steps), sum(losses[i:i + BIN]) / len(losses[i:i + BIN]))
             for i in range(0, steps, BIN)]
    bottom = HEIGHT - 2 * TOP
    text = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - 2 * LEFT}" height="{bottom - TOP}" '
            'fill="none" stroke="#bbb"/>']
    for part in range(5):
        y = bottom - part / 4 * (bottom - TOP)
        text.append(label(LEFT - 6, y + 4, f"{top * part / 4:.1f}", "end", "#1f5fa8"))
        text.append(label(WIDTH - LEFT + 6, y + 4, f"{0.5 + part / 8:.3f}", "start", "#b5541c"))
        x = LEFT + part / 4 * (WIDTH - 2 * LEFT)
        text.append(label(x, bottom + 16, round(steps * part / 4)))
    text += polyline([(step / steps, loss / top) for step, loss in means], "#1f5fa8")
    points = [(step / steps, (score - 0.5) / 0.5) for step, score in scores]
    text += polyline(points, "#b5541c", True)
    text.append(label(LEFT, TOP - 6, f"loss, means of {BIN} steps", "start", "#1f5fa8"))
    text.append(label(WIDTH - LEFT, TOP - 6, "macro AUROC, held out", "end", "#b5541c"))
    text.append(label(WIDTH / 2, HEIGHT - 6, "steps"))
    print("\n".join(text + ["</svg>"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

"""The theme of the page: what Gradio's own components look like; the rest is in assets/app.css."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio


def theme() -> "gradio.themes.Base":
    """A plain theme on the fonts of the system: none is fetched. No hue favours a side: what acts is slate."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue=gr.themes.colors.slate,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*neutral_800",
        button_primary_background_fill_hover="*neutral_700",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*neutral_200",
        button_primary_background_fill_hover_dark="white",
        button_primary_text_color_dark="*neutral_900",
        body_text_color="*neutral_800",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="#8694a8",  # 3:1 against the white around it
        input_border_color_dark="#64748b",
        input_border_width="1px",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_border_width="0px",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
    )

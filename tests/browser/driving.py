"""What the browser tests do on the Mediate page, in a mediator's steps."""

VIEW_A = "The library is where I read in peace. Please keep it quiet for older readers."
VIEW_B = "My children need the library after school. Please let them talk and play there."


def open_page(page, url):
    """Go to an address and wait until the page has answered its first question."""
    page.goto(url)
    return wait_for_the_page(page)


def wait_for_the_page(page):
    """Wait until the page has answered its first question: what is typed before may be written over."""
    page.wait_for_selector("#eh-propose")
    page.wait_for_function("() => document.querySelector('.eh-status')?.textContent.trim()")
    return page


def write_views(page, view_a=VIEW_A, view_b=VIEW_B):
    page.fill("#eh-text-a textarea", view_a)
    page.fill("#eh-text-b textarea", view_b)


def choose_example(page, words):
    page.click("#eh-example input")
    page.get_by_role("option").filter(has_text=words).click()
    page.wait_for_selector("#eh-reason-a textarea")


def choose_writer(page, spec):
    page.fill("#eh-model input", spec)
    page.press("#eh-model input", "Enter")


def propose(page):
    page.click("#eh-propose")


def propose_and_wait(page, words="Done in"):
    """Press Propose and wait for the end of that round, not for what the page says of the last one."""
    page.evaluate("() => { for (const old of document.querySelectorAll('.eh-status')) old.textContent = ''; }")
    propose(page)
    wait_for_status(page, words)
    page.wait_for_selector("#eh-cards .eh-card")


def wait_for_status(page, words):
    page.wait_for_function("words => document.querySelector('.eh-status')?.textContent.includes(words)", arg=words)


def wait_for_saving(page):
    """Wait until the session has a name in the address, and what was typed last is saved."""
    page.wait_for_function("() => new URL(location.href).searchParams.get('session')")
    page.wait_for_timeout(900)  # longer than the pause after which typing is saved


def resize(page, width, height=900):
    """Give the page another size, and wait until it has it."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("width => window.innerWidth === width", arg=width)


def meters(card):
    return [int(meter.get_attribute("aria-valuenow")) for meter in card.query_selector_all("[role=meter]")]


def cards(page):
    """The settled cards in front: not those folded away."""
    return page.query_selector_all("#eh-cards section[data-cards] > .eh-grid > .eh-card:visible")


def texts(page):
    """The texts of the cards in front; of a dropped one only the beginning."""
    return [card.query_selector(".eh-text, .eh-start").text_content() for card in cards(page)]


def press(page, action, number=1):
    """Press a button of the card in front with this number."""
    cards(page)[number - 1].query_selector(f"[data-action={action}]").click()

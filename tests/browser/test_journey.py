"""Find Mrs X's message, see why it waits, resume the provider, see it delivered: in a browser, without a shell."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import World


def test_find_a_message_see_why_it_waits_resume_and_see_it_delivered(chromium: Any, world: World) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(world.path("/"))
    assert "Provider twilio is paused by anna" in page.inner_text("main")

    page.keyboard.press("/")  # the search field
    number = world.mrs_x
    page.keyboard.type(f"+{number[0]} {number[1:4]} {number[4:7]}-{number[7:]}")
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages?who=*")
    assert page.locator("tbody tr").count() == 4  # one was delivered, three wait

    ref = world.stack.ref(world.waiting)
    page.click(f"a[href='/messages/{ref}']")
    page.wait_for_url(f"**/messages/{ref}")
    said = page.inner_text("main")
    assert "Waits: provider twilio is paused by anna since" in said
    assert "2 messages of its conversation are before it." in said

    page.click("text=Resume provider twilio")
    page.wait_for_selector("text=What stopped it is resumed.")
    page.wait_for_selector("text=Was delivered by provider twilio", timeout=60_000)  # by the refresh of the page alone
    assert world.stack.receipt(world.waiting)["status"] == "Delivered"

    page.goto(world.path("/"))
    assert "is paused" not in page.inner_text("main")
    assert "difference 0" in page.inner_text("main")
    assert not any(number in one for one in asked), "a number stood in an address"
    assert number not in world.stack.said("console")
    context.close()

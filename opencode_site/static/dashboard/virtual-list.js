/** A scrolled list of which only what can be seen is in the page; all rows have the same height. */

const OVERSCAN = 12;
const AT_END = 4;

export class VirtualList {
  #viewport;
  #spacer;
  #window;
  #rowHeight;
  #draw;
  #total = 0;
  #version = 0;
  #rows = new Map();
  #frame = 0;
  #following = true;
  #onFollow;
  /** Where the viewport was seen last. */
  #seen = { scrollTop: 0, clientHeight: 0 };
  #shrunk = false;

  /** `draw(element, row)` fills a row; `onFollow(follows)` tells when the user leaves the end or comes back. */
  constructor(viewport, { rowHeight, draw, onFollow = () => {} }) {
    this.#viewport = viewport;
    this.#rowHeight = rowHeight;
    this.#draw = draw;
    this.#onFollow = onFollow;
    this.#spacer = document.createElement("div");
    this.#window = document.createElement("div");
    this.#spacer.className = "virtual-spacer";
    this.#window.className = "virtual-window";
    this.#spacer.append(this.#window);
    viewport.append(this.#spacer);
    viewport.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  get following() {
    return this.#following;
  }

  /** Shows so many rows; `moved` rows have come in (or gone) above what is seen. */
  set({ total, version, moved = 0 }) {
    this.#shrunk ||= total < this.#total;
    this.#total = total;
    if (version !== this.#version) this.#discard();
    this.#version = version;
    this.#spacer.style.height = `${total * this.#rowHeight}px`;
    if (moved && !this.#following) this.#viewport.scrollTop += moved * this.#rowHeight;
    this.schedule();
  }

  /** Goes to the end and stays there as rows come. */
  follow() {
    this.#setFollowing(true);
    this.schedule();
  }

  /** Draws with the next frame. */
  schedule() {
    this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  destroy() {
    cancelAnimationFrame(this.#frame);
    this.#spacer.remove();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#viewport;
    const before = this.#seen;
    this.#seen = { scrollTop, clientHeight };
    // A view that grew, or a list that shrank, is moved up by the browser: that is not somebody who scrolls up.
    const movedUp = scrollTop < before.scrollTop - 1 && clientHeight === before.clientHeight && !this.#shrunk;
    if (scrollTop + clientHeight >= scrollHeight - AT_END) this.#setFollowing(true);
    else if (movedUp) this.#setFollowing(false);
    this.schedule();
  }

  #setFollowing(follows) {
    if (follows === this.#following) return;
    this.#following = follows;
    this.#onFollow(follows);
  }

  #render() {
    this.#frame = 0;
    if (this.#following) {
      this.#viewport.scrollTop = this.#viewport.scrollHeight;
    }
    const { scrollTop: top, clientHeight } = this.#viewport;
    this.#seen = { scrollTop: top, clientHeight };
    this.#shrunk = false;
    const first = Math.max(0, Math.floor(top / this.#rowHeight) - OVERSCAN);
    const last = Math.min(this.#total, Math.ceil((top + clientHeight) / this.#rowHeight) + OVERSCAN);
    for (const [row, element] of this.#rows) {
      if (row >= first && row < last) continue;
      element.remove();
      this.#rows.delete(row);
    }
    // Before the first row that is there already, then after it: order in the page is order on the screen.
    let before = this.#window.firstElementChild;
    for (let row = first; row < last; row += 1) before = this.#place(row, before);
    this.#window.style.transform = `translateY(${first * this.#rowHeight}px)`;
  }

  #place(row, before) {
    const known = this.#rows.get(row);
    if (known) return known.nextElementSibling;
    const element = document.createElement("div");
    this.#draw(element, row);
    this.#rows.set(row, element);
    this.#window.insertBefore(element, before);
    return before;
  }

  #discard() {
    this.#rows.clear();
    this.#window.replaceChildren();
  }
}

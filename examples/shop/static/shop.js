"use strict";

// The pages are the same for everybody; what is one's own comes afterwards.
const count = document.querySelector("[data-cart]");
fetch("/api/cart").then((r) => r.json()).then((cart) => {
  count.textContent = cart.lines;
  count.hidden = cart.lines === 0;
}).catch(() => {});

const market = document.querySelector("[data-prices]");
if (market) {
  const source = new EventSource("/prices");
  source.addEventListener("price", (e) => {
    const price = JSON.parse(e.data);
    const box = market.querySelector(`[data-material="${CSS.escape(price.material)}"]`);
    if (!box) return;
    box.querySelector("[data-value]").textContent = "€" + (price.cents / 100).toFixed(2);
    const sign = price.change > 0 ? "▲ " : price.change < 0 ? "▼ " : "";
    box.querySelector("[data-change]").textContent = sign + (Math.abs(price.change) / 100).toFixed(2) + " a kg";
    box.className = price.change > 0 ? "up" : price.change < 0 ? "down" : "";
  });
}

const chat = document.querySelector("[data-chat]");
if (chat) {
  const name = "guest " + Math.floor(1000 + Math.random() * 9000);
  const said = chat.querySelector("[data-said]");
  const state = chat.querySelector("[data-state]");
  let socket;
  let wait = 500;
  const connect = () => {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/chat/ws?name=" + encodeURIComponent(name));
    socket.onopen = () => {
      said.replaceChildren(); // who comes in is told what was said last
      state.textContent = "you are " + name;
      wait = 500;
    };
    socket.onmessage = (e) => {
      const m = JSON.parse(e.data);
      const item = document.createElement("li");
      const from = document.createElement("b");
      from.textContent = m.from;
      item.append(from, m.text);
      said.append(item);
      said.scrollTop = said.scrollHeight;
    };
    socket.onclose = () => {
      state.textContent = "gone; coming back …";
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 10000);
    };
  };
  connect();
  chat.querySelector("[data-say]").addEventListener("submit", (e) => {
    e.preventDefault();
    const text = e.target.elements.text;
    if (text.value.trim() && socket.readyState === WebSocket.OPEN) {
      socket.send(text.value);
      text.value = "";
    }
  });
}

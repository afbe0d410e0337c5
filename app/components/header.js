["h1", "p", ".badge"].forEach((selector, i) => { element.querySelector(selector).textContent = props.value[i]; });

const places = ["h1", "p", ".badge"];
places.forEach((place, i) => { element.querySelector(place).textContent = props.value[i]; });
